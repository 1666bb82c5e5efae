//! The tensor graph of one language model: ops, types, text form, checker, interpreter.
//!
//! In: a graph built by `qwenc-models` or parsed from text. Out: the same graph, checked, printed
//! or run. Invariant: a [`Checked<Graph>`](Checked) obeys every shape law of [`Op`] and is made
//! only by [`verify`].

pub mod dataflow;
mod dims;
mod graph;
mod ids;
pub mod interp;
mod layers;
mod op;
mod rope;
mod shape;
mod text;
mod verify;
mod weights;

pub use dims::Dims;
pub use graph::{Graph, LayerGroup, Node, Section, SectionKind};
pub use ids::{NodeId, WeightId};
pub use layers::Layers;
pub use op::{Eps, Op, Slot};
pub use rope::{Rope, Scaling};
pub use shape::{infer, Elements, Extent, ShapeError, Type};
pub use text::{layer_group, parse, ParseError};
pub use verify::{verify, Checked, Verify, VerifyError};
pub use weights::{WeightDecl, WeightSource};
