//! The checkpoint's chat template, rendered as transformers renders it.
//!
//! In: Jinja source, messages, tools. Out: text. Invariant: the environment equals that of
//! `apply_chat_template`: trim_blocks, lstrip_blocks, loop controls, Python's methods and printing,
//! `tojson`, `raise_exception`, `strftime_now`. The one file that knows minijinja; what a template of a
//! real model needs and lacks is added to the environment here.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error as JinjaError, ErrorKind, Output, State, Value as JinjaValue};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::text::python_json;

/// A chat template ready to render.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// What every rendering gets: texts of control tokens.
    tokens: Map<String, Value>,
}

/// What a template is rendered with.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// `{"role": …, "content": …}` and what else the template knows.
    pub messages: Vec<Value>,
    /// JSON schemas of tools; empty for none.
    pub tools: Vec<Value>,
    /// Given to the template only if set.
    pub enable_thinking: Option<bool>,
}

const NAME: &str = "chat_template";

impl ChatTemplate {
    /// Compiles the template.
    pub fn new(source: &str) -> Result<ChatTemplate> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(print_as_python);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment
            .add_template_owned(NAME.to_owned(), source.to_owned())
            .map_err(|e| Error::Template(e.to_string()))?;
        Ok(ChatTemplate { environment, tokens: Map::new() })
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

    /// The prompt of a conversation, up to where the answer begins.
    pub fn render(&self, conversation: &Conversation) -> Result<String> {
        let mut context = self.tokens.clone();
        context.insert("messages".into(), Value::Array(conversation.messages.clone()));
        let tools = &conversation.tools;
        context.insert("tools".into(), if tools.is_empty() { Value::Null } else { tools.clone().into() });
        context.insert("documents".into(), Value::Null);
        context.insert("add_generation_prompt".into(), Value::Bool(true));
        if let Some(think) = conversation.enable_thinking {
            context.insert("enable_thinking".into(), Value::Bool(think));
        }
        let template = self.environment.get_template(NAME).map_err(|e| Error::Template(e.to_string()))?;
        template.render(context).map_err(|e| Error::Template(e.to_string()))
    }
}

fn print_as_python(out: &mut Output, state: &State, value: &JinjaValue) -> Result<(), JinjaError> {
    match value.kind() {
        ValueKind::None => out.write_str("None").map_err(JinjaError::from),
        ValueKind::Bool => {
            out.write_str(if value.is_true() { "True" } else { "False" }).map_err(JinjaError::from)
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

fn to_json(value: &JinjaValue, options: Kwargs) -> Result<JinjaValue, JinjaError> {
    let indent: Option<usize> = options.get("indent")?;
    let escape: Option<bool> = options.get("ensure_ascii")?;
    if escape == Some(true) {
        return Err(JinjaError::new(
            ErrorKind::InvalidOperation,
            "tojson(ensure_ascii=True) is not supported",
        ));
    }
    options.assert_all_used()?;
    let json = serde_json::to_value(value)
        .map_err(|e| JinjaError::new(ErrorKind::BadSerialization, "tojson failed").with_source(e))?;
    Ok(JinjaValue::from_safe_string(python_json::to_json(&json, indent)))
}

fn raise_exception(message: String) -> Result<JinjaValue, JinjaError> {
    Err(JinjaError::new(ErrorKind::InvalidOperation, message))
}

/// `datetime.now().strftime(format)`.
fn strftime_now(format: String) -> Result<String, JinjaError> {
    let invalid = || JinjaError::new(ErrorKind::InvalidOperation, "strftime_now: unusable format");
    let format = std::ffi::CString::new(format).map_err(|_| invalid())?;
    let mut text = [0u8; 256];
    // SAFETY: tm is plain data for which zero is a value; all pointers are to live locals, and
    // strftime writes at most the length it is given.
    let length = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts: libc::tm = std::mem::zeroed();
        libc::localtime_r(&now, &mut parts);
        libc::strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), &parts)
    };
    String::from_utf8(text[..length].to_vec()).map_err(|_| invalid())
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
            ("{{ messages[::-1][0].role }}{{ messages[-1]['role'].upper() }}", "xX"),
            ("{{ messages[0] | tojson }}", r#"{"role": "user", "content": "<a> & 'b'"}"#),
            ("{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% endfor %}", "x"),
            ("{% set n = namespace(v=1) %}{% for m in messages %}{% set n.v = n.v + 1 %}{% endfor %}{{ n.v }}", "3"),
            ("{{ true }}{{ none }}{{ tools is none }}{{ enable_thinking is defined }}", "TrueNoneTrueFalse"),
            ("{{ '</t>a'.split('</t>')[-1].strip('\\n') }}{{ messages[0].get('q', 'd') }}", "ad"),
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
}
