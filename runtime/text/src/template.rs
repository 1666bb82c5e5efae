//! The checkpoint's chat templates, rendered as transformers renders them.
//!
//! In: Jinja sources, messages, tools. Out: text. Invariant: of several templates transformers' rule takes one: that
//! named `tool_use` for a conversation with tools, else `default`. A template that cannot be parsed stops nothing but
//! what needs it: the error comes when it is rendered. The language itself is `qwenc-jinja`.

use qwenc_abi::metadata::Metadata;
use qwenc_jinja::Template;
use serde_json::{Map, Value};

use qwenc_engine::error::{Error, Result};

/// A chat template, parsed or with the reason why not.
type Parsed = std::result::Result<Template, String>;

/// The chat templates of a model, ready to render.
pub struct ChatTemplate {
    /// By name; `default` among them where there is one.
    named: Vec<(String, Parsed)>,
    /// Variables of every rendering: texts of control tokens.
    tokens: Map<String, Value>,
}

/// Variables of one rendering.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// `{"role": …, "content": …}` and what else the template knows.
    pub messages: Vec<Value>,
    /// JSON schemas of tools; empty for none.
    pub tools: Vec<Value>,
    /// Given to the template only if set.
    pub enable_thinking: Option<bool>,
}

const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

fn parsed(source: &str) -> Parsed {
    Template::parse(source).map_err(|e| e.to_string())
}

impl ChatTemplate {
    /// A single template; an error if it cannot be parsed.
    pub fn new(source: &str) -> Result<ChatTemplate> {
        let template = parsed(source).map_err(Error::Template)?;
        Ok(ChatTemplate { named: vec![(DEFAULT.into(), Ok(template))], tokens: Map::new() })
    }

    /// The templates of a model; none if it has none.
    pub fn of(metadata: &Metadata) -> Option<ChatTemplate> {
        let default = metadata.chat_template.iter().map(|source| (DEFAULT, source));
        let others = metadata.named_chat_templates.iter().map(|(name, source)| (name.as_str(), source));
        let named: Vec<_> =
            default.chain(others).map(|(name, source)| (name.to_string(), parsed(source))).collect();
        let template = ChatTemplate { named, tokens: Map::new() };
        let (bos, eos) = (metadata.bos_token.as_deref(), metadata.eos_token.as_deref());
        (!template.named.is_empty()).then(|| template.with_tokens(bos, eos))
    }

    /// Templates of some models write the tokens that begin and end a sequence themselves, by these names.
    pub fn with_tokens(mut self, bos: Option<&str>, eos: Option<&str>) -> ChatTemplate {
        for (name, text) in [("bos_token", bos), ("eos_token", eos)] {
            if let Some(text) = text {
                self.tokens.insert(name.into(), text.into());
            }
        }
        self
    }

    /// An error if the template for conversations with or without tools is missing or cannot be parsed.
    pub fn check(&self, tools: bool) -> Result<()> {
        self.chosen(tools).map(|_| ())
    }

    fn chosen(&self, tools: bool) -> Result<&Template> {
        let find = |wanted: &str| self.named.iter().find(|(name, _)| name == wanted);
        let found = find(TOOL_USE).filter(|_| tools).or_else(|| find(DEFAULT));
        let Some((name, template)) = found else {
            let mut names: Vec<&str> = self.named.iter().map(|(name, _)| name.as_str()).collect();
            names.sort_unstable();
            let names = names.join(", ");
            return Err(Error::Template(format!(
                "the model has several templates ({names}), but none named default; give its tokenizer_config.json one"
            )));
        };
        let named = if self.named.len() > 1 { format!("template {name}: ") } else { String::new() };
        template.as_ref().map_err(|reason| Error::Template(format!("{named}{reason}")))
    }

    /// The prompt of a conversation, up to where the answer begins.
    pub fn render(&self, conversation: &Conversation) -> Result<String> {
        let tools = &conversation.tools;
        let template = self.chosen(!tools.is_empty())?;
        let mut context = self.tokens.clone();
        context.insert("messages".into(), Value::Array(conversation.messages.clone()));
        context.insert("tools".into(), if tools.is_empty() { Value::Null } else { tools.clone().into() });
        context.insert("documents".into(), Value::Null);
        context.insert("add_generation_prompt".into(), Value::Bool(true));
        if let Some(think) = conversation.enable_thinking {
            context.insert("enable_thinking".into(), Value::Bool(think));
        }
        template.render(&context).map_err(|e| Error::Template(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(source: &str, messages: Value) -> Result<String> {
        let messages = messages.as_array().unwrap().clone();
        ChatTemplate::new(source)?.render(&Conversation { messages, ..Conversation::default() })
    }

    #[test]
    fn environment_of_transformers() {
        let messages = json!([{"role": "user", "content": "<a> & 'b'"}, {"role": "x", "content": "é"}]);
        let cases = [
            ("{% for m in messages %}\n  {% if true %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}\n", "<a> & 'b'\né\n"),
            ("{{ messages[0] | tojson }}", r#"{"role": "user", "content": "<a> & 'b'"}"#),
            ("{{ messages[1:] }}{{ 1e16 }}", "[{'role': 'x', 'content': 'é'}]1e+16"),
            ("{% generation %}{{ true }}{{ none }}{% endgeneration %}{{ tools is none }}{{ enable_thinking is defined }}", "TrueNoneTrueFalse"),
            ("{% if tools is iterable and tools | length > 0 %}tools{% else %}none{% endif %}", "none"),
        ];
        for (source, expected) in cases {
            assert_eq!(render(source, messages.clone()).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn exceptions_and_dates() {
        let e = render("{{ raise_exception('no system role') }}", json!([])).unwrap_err().to_string();
        assert!(e.contains("chat template failed") && e.contains("no system role"), "{e}");
        let year = render("{{ strftime_now('%Y') }}", json!([])).unwrap();
        assert!(year.parse::<u32>().unwrap() > 2020, "{year}");
        assert!(render("{% if %}", json!([])).is_err());
    }

    fn of(default: Option<&str>, named: &[(&str, &str)]) -> ChatTemplate {
        let named = named.iter().map(|(name, source)| (name.to_string(), source.to_string())).collect();
        let default = default.map(str::to_string);
        let metadata =
            Metadata { chat_template: default, named_chat_templates: named, ..Metadata::default() };
        ChatTemplate::of(&metadata).unwrap()
    }

    #[test]
    fn tools_choose_the_template_that_is_named_for_them() {
        let with = Conversation { tools: vec![json!({"type": "function"})], ..Conversation::default() };
        let without = Conversation::default();
        let both = of(Some("plain"), &[("tool_use", "{{ tools | length }} tool"), ("rag", "rag")]);
        assert_eq!(
            (both.render(&with).unwrap(), both.render(&without).unwrap()),
            ("1 tool".into(), "plain".into())
        );
        let one = of(Some("plain"), &[("rag", "rag")]);
        assert_eq!(one.render(&with).unwrap(), "plain");
        let none = of(None, &[("tool_use", "tools"), ("rag", "rag")]);
        assert_eq!(none.render(&with).unwrap(), "tools");
        let e = none.render(&without).unwrap_err().to_string();
        assert!(e.contains("several templates (rag, tool_use), but none named default"), "{e}");
    }

    #[test]
    fn a_template_that_cannot_be_parsed_says_so_when_it_is_needed() {
        let broken = of(Some("{% if %}"), &[("tool_use", "fine")]);
        let e = broken.check(false).unwrap_err().to_string();
        assert!(e.contains("template default: template syntax, line 1: expected an expression"), "{e}");
        broken.check(true).unwrap();
    }
}
