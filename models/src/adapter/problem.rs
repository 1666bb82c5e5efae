//! Why an adapter cannot be merged. In: what was found. Out: the words after the file's name.
//! Invariant: as in `error.rs`, each says what was expected, what was found, and what to do.

/// Error of an adapter.
#[derive(Debug, thiserror::Error)]
pub enum AdapterProblem {
    /// No adapter stands there.
    #[error(
        "expected the folder of a LoRA adapter, alone or as FOLDER:SCALE with a number, found no such folder"
    )]
    NoFolder,
    /// Nothing to merge.
    #[error("expected tensors lora_A and lora_B, found none; is this a LoRA adapter?")]
    NoDeltas,
    /// Half of a delta.
    #[error("expected lora_A and lora_B of each module, found only {found}; fetch the adapter again")]
    Half {
        /// The half that is there.
        found: String,
    },
    /// Two tensors for one half of a delta.
    #[error("{first} and {second} are of the same module: expected one; remove the other")]
    Two {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A delta for a weight that the model lacks.
    #[error("{delta}: expected {tensor} in the model, found no such weight; is the adapter of this model?")]
    NoWeight {
        /// The adapter's tensor.
        delta: String,
        /// The weight that it is for.
        tensor: String,
    },
    /// A delta that does not fit its weight.
    #[error(
        "tensor {tensor}: expected floats {expected:?} for a weight of {of:?} by adapter_config.json's rank and \
         fan_in_fan_out, found {found}; is the adapter of this model?"
    )]
    Shape {
        /// The tensor.
        tensor: String,
        /// Its shape.
        expected: [usize; 2],
        /// The weight's.
        of: [usize; 2],
        /// Value that was found.
        found: String,
    },
    /// A name that several adapters kept beside the weights have, or none.
    #[error("expected a name that no other adapter has; give another one")]
    Name,
    /// Adapters that are kept beside the weights.
    #[error("expected at most {most} adapters, found {count}; compile with fewer")]
    Count {
        /// Adapters given.
        count: usize,
        /// Adapters that there may be.
        most: usize,
    },
    /// The same adapter named twice.
    #[error("expected each adapter once, found it twice; give it one scale")]
    Twice,
}
