//! A chat template as the texts with `%s` of ajc1.
//!
//! In: Jinja source. Out: what it makes of one turn, with and without a system message and thinking. Invariant: a text
//! that `%s` cannot express is a reason in words, never a file that would render wrong.

use qwenc_jinja::Template;
use serde_json::{json, Map, Value};

/// A chat template and the control tokens that it names.
pub(crate) struct Renderer {
    template: Template,
    tokens: Map<String, Value>,
}

impl Renderer {
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Renderer, String> {
        let template = Template::parse(source).map_err(|e| e.to_string())?;
        let mut tokens = Map::new();
        for (name, text) in [("bos_token", bos), ("eos_token", eos)] {
            tokens.extend(text.map(|text| (name.to_string(), text.into())));
        }
        Ok(Renderer { template, tokens })
    }

    /// The prompt up to where the answer begins.
    pub fn render(&self, messages: &Value, think: Option<bool>) -> Result<String, String> {
        let mut variables = self.tokens.clone();
        variables.insert("messages".into(), messages.clone());
        variables.insert("tools".into(), Value::Null);
        variables.insert("documents".into(), Value::Null);
        variables.insert("add_generation_prompt".into(), true.into());
        variables.extend(think.map(|think| ("enable_thinking".to_string(), think.into())));
        self.template.render(&variables).map_err(|e| e.to_string())
    }

    /// The text with `%s` in each message's place.
    pub fn slots(&self, system: bool, think: bool) -> Result<String, String> {
        // Letters that no template looks for or changes.
        let (asked, told) = ("QwencUserText", "QwencSystemText");
        let user = json!({"role": "user", "content": asked});
        let messages = match system {
            true => json!([{"role": "system", "content": told}, user]),
            false => json!([user]),
        };
        let text = self.render(&messages, Some(think))?.replace('%', "%%");
        let count = |what: &str| text.matches(what).count();
        let order = text.find(told) <= text.find(asked);
        match (count(asked), count(told) == usize::from(system), order) {
            (1, true, true) => Ok(text.replace(asked, "%s").replace(told, "%s")),
            _ => Err("it does not say each message once, in order".to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qwen3_has_its_four_texts() {
        let sample = crate::Checkpoint::sample();
        let template =
            Renderer::new(sample.side_files().chat_template.as_deref().unwrap(), None, None).unwrap();
        let user = "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(template.slots(false, true).unwrap(), user);
        assert_eq!(template.slots(false, false).unwrap(), format!("{user}<think>\n\n</think>\n\n"));
        let system = format!("<|im_start|>system\n%s<|im_end|>\n{user}");
        assert_eq!(template.slots(true, true).unwrap(), system);
    }

    #[test]
    fn what_cannot_be_said_is_a_reason() {
        let slots =
            |source: &str, system| Renderer::new(source, None, None).and_then(|r| r.slots(system, false));
        assert_eq!(slots("100% {{ messages[0].content }}", false).unwrap(), "100%% %s");
        assert!(slots("{{ messages[0].content * 2 }}", false).is_err());
        assert!(slots("{{ messages[-1].content }}", true).is_err());
        assert!(slots("{{ messages[1].content }}{{ messages[0].content }}", true).is_err());
        assert!(slots("{{ raise_exception('no') }}", false).unwrap_err().contains("no"));
        assert!(slots("{% if %}", false).is_err());
    }
}
