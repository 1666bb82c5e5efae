//! Text to tokens and back, and conversations.
//!
//! In: texts of C. Out: tokens, bytes. Invariant: what users wrote becomes a control token only where the caller says so.

use std::ffi::c_char;

use serde_json::{json, Value};

use crate::border::{self, bad};
use crate::handles::{QwenModel, Shared};
use crate::types::Chat;
use qwenc_engine::error::Result;
use qwenc_text::prompt::{self, Prompt};
use qwenc_text::template::Conversation;
use qwenc_text::tokenizer::Controls;

/// Tokens of a text.
///
/// # Safety
/// `model` must be null or a handle, `text` null or `bytes` long, `tokens` null or `capacity` long.
#[no_mangle]
pub unsafe extern "C" fn qwen_tokenize(
    model: *const QwenModel,
    text: *const c_char,
    bytes: usize,
    controls: i32,
    tokens: *mut u32,
    capacity: usize,
) -> i64 {
    border::count(|| {
        // SAFETY: by the caller's promise.
        let (shared, text) = unsafe { (shared(model)?, border::array(text.cast::<u8>(), bytes, "text")?) };
        let text = std::str::from_utf8(text).map_err(|e| bad(format!("text is not UTF-8: {e}")))?;
        let tokenizer = shared.opened.text("read a text")?;
        let ids = match controls {
            0 => tokenizer.encode(text, Controls::Literal)?,
            _ => tokenizer.encode_prompt(text)?,
        };
        // SAFETY: by the caller's promise.
        unsafe { border::fill(&ids, tokens, capacity, "tokens") }
    })
}

/// Bytes of tokens.
///
/// # Safety
/// `model` must be null or a handle, `tokens` null or `count` long, `text` null or `capacity` long.
#[no_mangle]
pub unsafe extern "C" fn qwen_detokenize(
    model: *const QwenModel,
    tokens: *const u32,
    count: usize,
    text: *mut c_char,
    capacity: usize,
) -> i64 {
    border::count(|| {
        // SAFETY: by the caller's promise.
        let (shared, ids) = unsafe { (shared(model)?, border::array(tokens, count, "tokens")?) };
        let tokenizer = shared.opened.text("write a text")?;
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.bytes(id)).collect();
        // SAFETY: by the caller's promise.
        unsafe { border::fill(&bytes, text.cast::<u8>(), capacity, "text") }
    })
}

/// A conversation as the template writes it.
///
/// # Safety
/// `model` must be null or a handle, `chat` null or point to what it says to be, `text` null or `capacity` long.
#[no_mangle]
pub unsafe extern "C" fn qwen_apply_template(
    model: *const QwenModel,
    chat: *const Chat,
    text: *mut c_char,
    capacity: usize,
) -> i64 {
    border::count(|| {
        // SAFETY: by the caller's promise.
        let prompt = unsafe { rendered(model, chat)? };
        // SAFETY: by the caller's promise.
        unsafe { border::fill(prompt.text.as_bytes(), text.cast::<u8>(), capacity, "text") }
    })
}

/// A conversation as tokens.
///
/// # Safety
/// `model` must be null or a handle, `chat` null or point to what it says to be, `tokens` null or `capacity` long.
#[no_mangle]
pub unsafe extern "C" fn qwen_chat_tokens(
    model: *const QwenModel,
    chat: *const Chat,
    tokens: *mut u32,
    capacity: usize,
) -> i64 {
    border::count(|| {
        // SAFETY: by the caller's promise.
        let prompt = unsafe { rendered(model, chat)? };
        // SAFETY: by the caller's promise.
        unsafe { border::fill(&prompt.ids, tokens, capacity, "tokens") }
    })
}

unsafe fn shared<'a>(model: *const QwenModel) -> Result<&'a Shared> {
    // SAFETY: by the caller's promise.
    Ok(unsafe { &border::reference(model, "model")?.0.shared })
}

unsafe fn rendered(model: *const QwenModel, chat: *const Chat) -> Result<Prompt> {
    // SAFETY: by the caller's promise.
    let (shared, conversation) = unsafe { (shared(model)?, conversation(border::measured(chat, "chat")?)?) };
    let tokenizer = shared.opened.text("apply a chat template")?;
    prompt::encode(&shared.opened.template()?, tokenizer, &conversation)
}

unsafe fn conversation(chat: &Chat) -> Result<Conversation> {
    // SAFETY: by the caller's promise.
    let (json, tools) = unsafe {
        (
            border::text(chat.messages_json, "chat->messages_json")?,
            border::text(chat.tools_json, "chat->tools_json")?,
        )
    };
    let messages = match json {
        Some(_) if chat.count > 0 => {
            return Err(bad("chat has both messages and messages_json; give one of them"));
        }
        Some(json) => array_of(json, "chat->messages_json")?,
        // SAFETY: by the caller's promise.
        None => unsafe { messages(chat)? },
    };
    let enable_thinking = match chat.thinking {
        0 => None,
        1 => Some(true),
        -1 => Some(false),
        n => return Err(bad(format!("chat->thinking is {n}, expected -1, 0 or 1"))),
    };
    let tools = tools.map(|json| array_of(json, "chat->tools_json")).transpose()?.unwrap_or_default();
    Ok(Conversation { messages, tools, enable_thinking })
}

unsafe fn messages(chat: &Chat) -> Result<Vec<Value>> {
    // SAFETY: by the caller's promise.
    let all = unsafe { border::array(chat.messages, chat.count, "chat->messages")? };
    let message = |(i, m): (usize, &super::types::Message)| {
        let part = |pointer, name: &str| {
            let name = format!("chat->messages[{i}].{name}");
            // SAFETY: by the caller's promise.
            unsafe { border::text(pointer, &name)? }
                .ok_or_else(|| bad(format!("{name} is NULL; expected a text")))
        };
        Ok(json!({"role": part(m.role, "role")?, "content": part(m.content, "content")?}))
    };
    all.iter().enumerate().map(message).collect()
}

/// The objects of a JSON array.
fn array_of(json: &str, name: &str) -> Result<Vec<Value>> {
    let values: Vec<Value> =
        serde_json::from_str(json).map_err(|e| bad(format!("{name} is not a JSON array: {e}")))?;
    match values.iter().position(|v| !v.is_object()) {
        Some(i) => Err(bad(format!("{name}[{i}] is not a JSON object"))),
        None => Ok(values),
    }
}
