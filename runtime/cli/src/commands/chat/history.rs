//! The messages of a conversation, and which of them the model still gets.
//!
//! In: messages, orders. Out: the part of the conversation that is sent. Invariant: a turn is left out as a whole, the
//! oldest first, never the system message nor the last turn; what is left out stays in the history, and is saved, until
//! the history is reset.

use serde_json::Value;

use qwenc_text::template::Conversation;

/// A conversation, and where its sent part begins.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// All of it.
    pub(super) all: Conversation,
    /// Number of messages after the system message that are not sent.
    left_out: usize,
}

impl History {
    /// A history of which everything is sent.
    pub(super) fn new(all: Conversation) -> History {
        History { all, left_out: 0 }
    }

    /// The part that the model gets.
    pub(super) fn sent(&self) -> Conversation {
        let mut sent = self.all.clone();
        let system = self.system_messages();
        sent.messages.drain(system..system + self.left_out);
        sent
    }

    /// Leaves out one more turn; false if only one is sent.
    pub(super) fn leave_out_oldest(&mut self) -> bool {
        let first = self.system_messages() + self.left_out;
        let messages = &self.all.messages;
        let Some(next) = (first + 1..messages.len()).find(|&i| is_question(&messages[i])) else {
            return false;
        };
        self.left_out = next - self.system_messages();
        true
    }

    /// The number of turns that are sent.
    pub(super) fn turns(&self) -> usize {
        let sent = &self.all.messages[self.system_messages() + self.left_out..];
        sent.iter().filter(|m| is_question(m)).count()
    }

    /// The present state, to return to.
    pub(super) fn mark(&self) -> (usize, usize) {
        (self.all.messages.len(), self.left_out)
    }

    /// Forgets the messages that came since `mark`, and sends again what was left out since.
    pub(super) fn return_to(&mut self, (messages, left_out): (usize, usize)) {
        self.all.messages.truncate(messages);
        self.left_out = left_out;
    }

    /// Forgets all but the system message.
    pub(super) fn reset(&mut self) {
        self.all.messages.truncate(self.system_messages());
        self.left_out = 0;
    }

    fn system_messages(&self) -> usize {
        usize::from(self.all.messages.first().is_some_and(|m| m["role"] == "system"))
    }
}

fn is_question(message: &Value) -> bool {
    message["role"] == "user"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn history(roles: &[&str]) -> History {
        let messages =
            roles.iter().enumerate().map(|(i, role)| json!({"role": role, "content": i})).collect();
        History::new(Conversation { messages, ..Conversation::default() })
    }

    fn sent(history: &History) -> Vec<u64> {
        history.sent().messages.iter().map(|m| m["content"].as_u64().unwrap()).collect()
    }

    #[test]
    fn the_oldest_turns_are_left_out_whole() {
        let mut h =
            history(&["system", "user", "assistant", "tool", "assistant", "user", "assistant", "user"]);
        assert_eq!(h.turns(), 3);
        assert!(h.leave_out_oldest());
        assert_eq!((sent(&h), h.turns()), (vec![0, 5, 6, 7], 2));
        assert!(h.leave_out_oldest());
        assert_eq!((sent(&h), h.turns()), (vec![0, 7], 1));
        assert!(!h.leave_out_oldest());
        assert_eq!(h.all.messages.len(), 8);
        h.reset();
        assert_eq!((sent(&h), h.turns()), (vec![0], 0));
        assert!(!h.leave_out_oldest());
    }

    #[test]
    fn without_a_system_message_too() {
        let mut h = history(&["user", "assistant", "user"]);
        assert!(h.leave_out_oldest());
        assert_eq!(sent(&h), [2]);
        assert!(!history(&[]).leave_out_oldest() && !history(&["user"]).leave_out_oldest());
    }
}
