//! Templates with `%s` where texts go, as a Jinja template.
//!
//! In: up to four texts: a user's message alone and after a system message, each with and without thinking. Out: Jinja
//! that renders whole conversations. Invariant: a conversation of one turn is what the texts say to the byte; the mark
//! between turns is the one that stands after the system message.

use serde_json::Value;

use crate::error::{Error, Result};

/// A template, cut at its slots.
#[derive(Clone, Debug)]
pub(super) struct Slots(Vec<String>);

impl Slots {
    /// Cuts the text of `file`, which must have `count` slots; `%%` is a percent sign, as in C.
    pub fn of(file: &str, text: &str, count: usize) -> Result<Slots> {
        let mut parts = vec![String::new()];
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let last = parts.len() - 1;
            parts[last].push_str(&rest[..at]);
            match rest[at + 1..].chars().next() {
                Some('s') => parts.push(String::new()),
                Some('%') => parts[last].push('%'),
                other => {
                    let found = other.map_or("% at the end".to_string(), |c| format!("%{c}"));
                    return Err(wrong(file, "%s and %% only".to_string(), found));
                }
            }
            rest = &rest[at + 2..];
        }
        let last = parts.len() - 1;
        parts[last].push_str(rest);
        match parts.len() == count + 1 {
            true => Ok(Slots(parts)),
            false => Err(wrong(file, format!("{count} times %s"), (parts.len() - 1).to_string())),
        }
    }

    fn first(&self) -> &str {
        &self.0[0]
    }

    fn last(&self) -> &str {
        &self.0[self.0.len() - 1]
    }
}

fn wrong(file: &str, expected: String, found: String) -> Error {
    Error::Field { file: file.to_string(), field: "the template".to_string(), expected, found }
}

/// A Jinja string; JSON's escapes are Jinja's.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The template of these four, in the order of [`TEMPLATES`](crate::origin::TEMPLATES); none without one for a
/// user's message alone.
pub(super) fn jinja([plain, thinking, system, system_thinking]: [Option<Slots>; 4]) -> Option<String> {
    let (plain, thinking) = match (plain, thinking) {
        (Some(p), Some(t)) => (p, t),
        (Some(one), None) | (None, Some(one)) => (one.clone(), one),
        (None, None) => return None,
    };
    let system = match (system, system_thinking) {
        (Some(s), Some(t)) => Some((s, t)),
        (Some(one), None) | (None, Some(one)) => Some((one.clone(), one)),
        (None, None) => None,
    };
    let between = system.as_ref().map(|(s, _)| s.0[1].clone());
    let end = between.as_ref().and_then(|b| b.strip_suffix(plain.first()));
    let refuse = |what: &str| format!("{{{{- raise_exception({}) -}}}}", quoted(what));
    let first = match &system {
        None => refuse("the templates of this model have no place for a system message"),
        Some((s, t)) => format!(
            "{{{{- {} if think else {} -}}}}{{{{- m.content -}}}}{{%- set ns.before = {} if think else {} -%}}",
            quoted(t.first()),
            quoted(s.first()),
            quoted(&t.0[1]),
            quoted(&s.0[1])
        ),
    };
    // An old answer stands as if it had been thought about and the thoughts were left out.
    Some(format!(
        "{{%- set think = enable_thinking is not defined or enable_thinking -%}}
{{%- set ns = namespace(before=({} if think else {})) -%}}
{{%- for m in messages -%}}
{{%- if m.role == 'system' -%}}
{{%- if not loop.first -%}}{}{{%- endif -%}}
{}
{{%- elif m.role == 'user' -%}}
{{{{- ns.before -}}}}{{{{- m.content -}}}}
{{%- if loop.last -%}}{{{{- {} if think else {} -}}}}{{%- else -%}}{{{{- {} -}}}}{{%- endif -%}}
{{%- set ns.before = {} if think else {} -%}}
{{%- elif m.role == 'assistant' -%}}
{{{{- m.content.split('</think>')[-1].lstrip('\\n') -}}}}{{{{- {} -}}}}
{{%- else -%}}{}
{{%- endif -%}}
{{%- endfor -%}}
",
        quoted(thinking.first()),
        quoted(plain.first()),
        refuse("a system message must come first"),
        first,
        quoted(thinking.last()),
        quoted(plain.last()),
        quoted(thinking.last()),
        quoted(thinking.first()),
        quoted(plain.first()),
        quoted(end.unwrap_or("<|im_end|>\n")),
        refuse("the templates of this model know system, user and assistant only"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::old_template::Renderer;
    use serde_json::json;

    const USER: &str = "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n";
    const SYSTEM: &str = "<|im_start|>system\n%s<|im_end|>\n";
    const NO_THOUGHTS: &str = "<think>\n\n</think>\n\n";

    fn chatml() -> [Option<Slots>; 4] {
        let texts = [
            format!("{USER}{NO_THOUGHTS}"),
            USER.into(),
            format!("{SYSTEM}{USER}{NO_THOUGHTS}"),
            SYSTEM.to_string() + USER,
        ];
        let slots = |i: usize| Slots::of("f", &texts[i], 1 + i / 2).ok();
        [slots(0), slots(1), slots(2), slots(3)]
    }

    /// The sample's own template is Qwen3's: both must say the same of every conversation.
    #[test]
    fn conversations_are_those_of_the_real_template() {
        let own = jinja(chatml()).unwrap();
        let sample = crate::Checkpoint::sample();
        let real = Renderer::new(sample.side_files().chat_template.as_deref().unwrap(), None, None).unwrap();
        let own = Renderer::new(&own, None, None).unwrap();
        let conversations = [
            json!([{"role": "user", "content": "50% off \"now\"\nç 你好"}]),
            json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]),
            json!([{"role": "system", "content": "S"}, {"role": "user", "content": "a"},
                {"role": "assistant", "content": "<think>\nx\n</think>\n\nb"}, {"role": "user", "content": "c"}]),
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}, {"role": "user", "content": "e"}]),
        ];
        for messages in conversations {
            for think in [None, Some(true), Some(false)] {
                assert_eq!(
                    own.render(&messages, think).unwrap(),
                    real.render(&messages, think).unwrap(),
                    "{messages} {think:?}"
                );
            }
        }
        assert!(own.render(&json!([{"role": "tool", "content": "x"}]), None).is_err());
        let alone = jinja([Slots::of("f", USER, 1).ok(), None, None, None]).unwrap();
        let alone = Renderer::new(&alone, None, None).unwrap();
        assert!(alone.render(&json!([{"role": "system", "content": "x"}]), None).is_err());
    }

    #[test]
    fn slots_are_counted_and_percent_signs_are_doubled() {
        let message = |text: &str, count| Slots::of("F", text, count).unwrap_err().to_string();
        assert_eq!(message("a", 1), "F: the template: expected 1 times %s, found 0; correct the file");
        assert_eq!(message("%s%s", 1), "F: the template: expected 1 times %s, found 2; correct the file");
        assert_eq!(
            message("%s %d", 1),
            "F: the template: expected %s and %% only, found %d; correct the file"
        );
        assert_eq!(
            message("%s%", 1),
            "F: the template: expected %s and %% only, found % at the end; correct the file"
        );
        assert!(message("%é", 1).contains("found %é"));
        assert_eq!(Slots::of("F", "100%% %s%%", 1).unwrap().0, ["100% ", "%"]);
        assert!(jinja([None, None, None, None]).is_none());
    }
}
