//! The load that work is counted for.
//!
//! In: tokens of a step, positions in the cache. Out: positions that attention looks at. Invariant: all loads that are
//! compared or shown are named here.

/// Tokens of the prompt for which prefill is predicted.
const PROMPT: u32 = 512;

/// Load: one step of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Tokens of the step.
    pub tokens: u64,
    /// Positions in the cache before the step.
    pub cached: u64,
}

impl Load {
    /// Decode in a conversation, for which alternatives are compared: with an empty cache attention would look free.
    pub const CONVERSATION: Load = Load { tokens: 1, cached: 511 };

    /// Decode with an empty cache, for which speed is predicted: what is read is the weights alone, and `bench` begins
    /// there.
    pub const EMPTY_CACHE: Load = Load { tokens: 1, cached: 0 };

    /// Prefill of a whole prompt, for which speed is predicted; a shorter one where the model's context is shorter.
    pub fn prompt(context: u32) -> Load {
        Load { tokens: PROMPT.min(context).into(), cached: 0 }
    }

    /// Positions that the tokens look at, summed over the tokens: each at all before it and at itself, or at its window.
    pub fn attended(&self, window: Option<u64>) -> u64 {
        let all = |tokens: u64| tokens * self.cached + tokens * (tokens + 1) / 2;
        match window {
            None => all(self.tokens),
            Some(window) => {
                // The first tokens, which look at fewer positions than the window has.
                let before = window.saturating_sub(self.cached).min(self.tokens);
                all(before) + (self.tokens - before) * window
            }
        }
    }

    /// Positions that attention reads from the cache, besides those of the step.
    pub fn read(&self, window: Option<u64>) -> u64 {
        window.map_or(self.cached, |window| self.cached.min(window.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attended_positions_by_hand() {
        for (tokens, cached) in [(1, 0), (1, 511), (5, 0), (7, 3), (3, 20)] {
            let load = Load { tokens, cached };
            for window in [None, Some(1), Some(4), Some(6), Some(100)] {
                let of_token = |t: u64| (cached + t).min(window.unwrap_or(u64::MAX));
                assert_eq!(
                    load.attended(window),
                    (1..=tokens).map(of_token).sum::<u64>(),
                    "{load:?} {window:?}"
                );
            }
        }
    }

    #[test]
    fn a_window_limits_what_is_read() {
        let read = |window| Load::CONVERSATION.read(window);
        assert_eq!([read(None), read(Some(1000)), read(Some(128)), read(Some(1))], [511, 511, 127, 0]);
    }

    #[test]
    fn a_prompt_fits_in_the_context() {
        assert_eq!([32, 512, 40960].map(|context| Load::prompt(context).tokens), [32, 512, 512]);
    }
}
