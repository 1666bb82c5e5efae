//! Chat templates of checkpoint folders: where they stand, which is taken, and what is said of one that cannot work.
// A failure here is a failure of the test.
#![allow(clippy::unwrap_used)]

mod fixtures;

use fixtures::*;
use qwenc_models::Checkpoint;

/// Several templates: a list in tokenizer_config.json, or files of their own, which then are all there is.
#[test]
fn named_templates_come_with_the_default_one() {
    let (config, tensors) = parts("llama3-rope");
    let dir = write_checkpoint(&config, &tensors);
    let list = serde_json::json!([
        {"name": "default", "template": "plain"}, {"name": "tool_use", "template": "{{ bos_token }}tools"},
    ]);
    let tokenizer_config = serde_json::json!({"chat_template": list, "bos_token": "<s>"});
    std::fs::write(dir.path().join("tokenizer_config.json"), tokenizer_config.to_string()).unwrap();
    let templates = || {
        let file = exported_file(&Checkpoint::open(dir.path()).unwrap(), None);
        let named: Vec<String> =
            file.side_files().named_templates.iter().map(|(n, t)| format!("{n}: {t}")).collect();
        (
            file.side_files().chat_template.as_deref().map(str::to_string),
            named.join(", "),
            file.side_files().bos_token.as_deref().map(str::to_string),
        )
    };
    let with_tools = "tool_use: {{ bos_token }}tools".to_string();
    assert_eq!(templates(), (Some("plain".into()), with_tools, Some("<s>".into())));
    let folder = dir.path().join("additional_chat_templates");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("tool_use.jinja"), "from a file").unwrap();
    std::fs::write(folder.join("notes.txt"), "no template").unwrap();
    assert_eq!(templates(), (None, "tool_use: from a file".into(), None));
    let warnings = Checkpoint::open(dir.path()).unwrap().side_files().warnings.join("|");
    assert!(warnings.contains("no chat template is named default"), "{warnings}");
    std::fs::write(folder.join("default.jinja"), "default file").unwrap();
    assert_eq!(templates(), (Some("default file".into()), "tool_use: from a file".into(), None));
    std::fs::write(dir.path().join("chat_template.jinja"), "own file").unwrap();
    assert_eq!(templates(), (Some("own file".into()), "tool_use: from a file".into(), None));
    std::fs::write(folder.join("tool_use.jinja"), "{% if %}").unwrap();
    let warnings = Checkpoint::open(dir.path()).unwrap().side_files().warnings.join("|");
    assert!(
        warnings.contains("the chat template tool_use cannot be read: template syntax, line 1"),
        "{warnings}"
    );
}

/// Processors of images keep the template in a file of their own; a null in the tokenizer's config hides it no more than
/// an absent key does.
#[test]
fn a_template_of_a_processor_is_taken_where_there_is_no_other() {
    let (config, tensors) = parts("llama3-rope");
    let dir = write_checkpoint(&config, &tensors);
    std::fs::write(dir.path().join("chat_template.json"), r#"{"chat_template": "of the processor"}"#)
        .unwrap();
    for (own, expected) in [
        ("{}", "of the processor"),
        (r#"{"chat_template": null}"#, "of the processor"),
        (r#"{"chat_template": "own"}"#, "own"),
    ] {
        std::fs::write(dir.path().join("tokenizer_config.json"), own).unwrap();
        let file = exported_file(&Checkpoint::open(dir.path()).unwrap(), None);
        assert_eq!(file.side_files().chat_template.as_deref(), Some(expected), "{own}");
    }
}

/// Faults that would else show once the model is asked something.
#[test]
fn a_tokenizer_or_a_template_that_cannot_work_is_told() {
    let (config, tensors) = parts("qwen3-tied");
    let dir = write_checkpoint(&config, &tensors);
    let with = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        Checkpoint::open(dir.path()).map(|c| c.side_files().warnings.join("|")).map_err(|e| e.to_string())
    };
    let other = with("tokenizer.model", "").unwrap();
    assert!(other.contains("tokenizer.model is not read: AutoTokenizer of transformers makes"), "{other}");
    for text in ["{}", r#"{"model": {"type": "BPE"}}"#] {
        let refused = with("tokenizer.json", text).unwrap_err();
        assert!(refused.contains("tokenizer.json: model: expected an object with a vocabulary"), "{refused}");
    }
    let vocabulary = |last: u32| format!(r#"{{"model": {{"vocab": {{"a": 0, "b": {last}}}}}}}"#);
    let past = with("tokenizer.json", &vocabulary(320)).unwrap();
    assert!(past.contains("tokenizer.json has id 320 for \"b\", past the vocabulary's 320 rows"), "{past}");
    assert!(!with("tokenizer.json", &vocabulary(319)).unwrap().contains("tokenizer"));
    let broken = with("chat_template.jinja", "{% if %}").unwrap();
    assert!(
        broken
            .contains("the chat template cannot be read, so the model cannot chat: template syntax, line 1"),
        "{broken}"
    );
    assert!(!with("chat_template.jinja", "{{ messages }}").unwrap().contains("chat"));
}
