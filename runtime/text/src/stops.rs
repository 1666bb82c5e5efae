//! Stop strings in a text that comes in pieces.
//!
//! In: pieces. Out: what can no longer be the beginning of a stop string. Invariant: no byte of a stop string, nor of
//! what follows it, is ever given; the one that is complete first counts, however the text is cut.

/// Looks for stop strings.
#[derive(Debug)]
pub struct Stops {
    stops: Vec<String>,
    held: String,
}

impl Stops {
    /// Looks for these; empty ones are never found.
    pub fn new(stops: Vec<String>) -> Stops {
        Stops { stops: stops.into_iter().filter(|s| !s.is_empty()).collect(), held: String::new() }
    }

    /// Text that is certain once `text` has come, and whether a stop string was found.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let place = |stop: &String| self.held.find(stop.as_str()).map(|at| (at + stop.len(), at));
        // The earliest end counts; among equal ends, the longest stop string.
        if let Some((_, at)) = self.stops.iter().filter_map(place).min() {
            let said = self.held[..at].to_owned();
            self.held.clear();
            return (said, true);
        }
        let may_begin = |&at: &usize| {
            let rest = &self.held[at..];
            self.stops.iter().any(|stop| stop.starts_with(rest))
        };
        let at = self.held.char_indices().map(|(at, _)| at).find(may_begin).unwrap_or(self.held.len());
        let rest = self.held.split_off(at);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// Whether nothing is held back.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Text that was held back and became no stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut reader = Stops::new(stops.iter().map(|s| s.to_string()).collect());
        let mut all = String::new();
        for piece in pieces {
            let (said, stopped) = reader.push(piece);
            all += &said;
            if stopped {
                return (all, true);
            }
        }
        (all + &reader.finish(), false)
    }

    #[test]
    fn cut_anywhere_the_same_is_read() {
        let text = "abcéabcdend.END. more";
        let expected = [("abcd", "abcé"), (".END.", "abcéabcdend"), ("é", "abc"), ("nd.E", "abcéabcde")];
        for (stop, said) in expected {
            for width in 1..6 {
                let chars: Vec<char> = text.chars().collect();
                let pieces: Vec<String> = chars.chunks(width).map(|c| c.iter().collect()).collect();
                let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
                assert_eq!(read(&[stop, "zz"], &pieces), (said.to_owned(), true), "{stop} by {width}");
                assert_eq!(read(&["zz", ""], &pieces), (text.to_owned(), false));
            }
        }
    }

    #[test]
    fn the_earliest_wins_and_beginnings_are_held() {
        assert_eq!(read(&["later", "ate"], &["x late"]), ("x l".into(), true));
        for cut in [&["ab", "c", "d"][..], &["abcde"], &["abc", "de"]] {
            assert_eq!(read(&["cd", "bcde"], cut), ("ab".into(), true));
            assert_eq!(read(&["d", "bcd", "cd"], cut), ("a".into(), true));
        }
        assert_eq!(read(&["stop"], &["st", "o"]), ("sto".into(), false));
        let mut reader = Stops::new(vec!["stop".into()]);
        assert_eq!(reader.push("a sto"), ("a ".into(), false));
        assert_eq!(reader.push("re"), ("store".into(), false));
    }
}
