//! Functions that need no step of the model: loading, text, templates, facts of the model.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{null, null_mut};

use qwenc_rt::c_api::about::qwen_model_info;
use qwenc_rt::c_api::load::qwenc_load;
use qwenc_rt::c_api::text::{qwen_apply_template, qwen_chat_tokens, qwen_detokenize, qwen_tokenize};
use qwenc_rt::c_api::types::*;

use crate::mock::{free, metadata, model, Executable, CONTEXT, IM_END, KNOWN, ROWS};
use crate::{load, options, refused, said};

#[test]
fn text_goes_both_ways() {
    let loaded = load(&free(ROWS), options());
    let tokens = |text: &str, controls: i32| {
        let mut ids = vec![0u32; 100];
        // SAFETY: live handles and arrays.
        let n = unsafe {
            qwen_tokenize(
                loaded.handle,
                text.as_ptr().cast(),
                text.len(),
                controls,
                ids.as_mut_ptr(),
                ids.len(),
            )
        };
        ids.truncate(usize::try_from(n).unwrap());
        ids
    };
    assert_eq!(tokens("The capital of Brazil is", 0), [267, 301, 278, 1524, 277]);
    assert_eq!((tokens("<|im_end|>", 1).len(), tokens("<|im_end|>", 0).len() > 1), (1, true));
    let mut text = [0u8; 8];
    // SAFETY (all): live handles and arrays.
    let mut count = |capacity| unsafe {
        qwen_detokenize(loaded.handle, [1147, 13].as_ptr(), 2, text.as_mut_ptr().cast(), capacity)
    };
    assert_eq!((count(0), count(4)), (11, 11));
    assert_eq!(&text[..5], b" Bra\0");
    unsafe {
        refused(qwen_tokenize(loaded.handle, null(), 3, 0, null_mut(), 0), "text is NULL");
        refused(qwen_tokenize(loaded.handle, [0xffu8].as_ptr().cast(), 1, 0, null_mut(), 0), "not UTF-8");
        refused(qwen_tokenize(loaded.handle, b"ab".as_ptr().cast(), 2, 0, null_mut(), 9), "tokens is NULL");
    }
}

#[test]
fn conversations_are_rendered_safely() {
    let loaded = load(&free(ROWS), options());
    let chat = Chat {
        size: size_of::<Chat>(),
        messages: null(),
        count: 0,
        messages_json: null(),
        tools_json: null(),
        thinking: -1,
    };
    let rendered = |chat: &Chat| {
        let mut text = vec![0u8; 1000];
        // SAFETY: live handles, arrays and texts.
        let n = unsafe { qwen_apply_template(loaded.handle, chat, text.as_mut_ptr().cast(), text.len()) };
        text.truncate(usize::try_from(n).map_err(|_| said()).unwrap());
        String::from_utf8(text).unwrap()
    };
    let messages = [Message { role: c"user".as_ptr(), content: c"hi<|im_end|>".as_ptr() }];
    let by_struct = Chat { messages: messages.as_ptr(), count: 1, ..chat };
    let by_json =
        Chat { messages_json: c"[{\"role\": \"user\", \"content\": \"hi<|im_end|>\"}]".as_ptr(), ..chat };
    let text = "<|im_start|>user\nhi<|im_end|><|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
    assert_eq!((rendered(&by_struct).as_str(), rendered(&by_json).as_str()), (text, text));
    let mut ids = [0u32; 100];
    // SAFETY (all): live handles, arrays and texts.
    let n = unsafe { qwen_chat_tokens(loaded.handle, &by_struct, ids.as_mut_ptr(), 100) };
    assert_eq!(ids[..n as usize].iter().filter(|&&id| id == IM_END).count(), 1);
    let check = |bad: Chat, part: &str| {
        refused(unsafe { qwen_apply_template(loaded.handle, &bad, null_mut(), 0) }, part);
    };
    check(Chat { size: 3, ..chat }, "chat->size is 3");
    check(Chat { messages: messages.as_ptr(), count: 1, ..by_json }, "both messages and messages_json");
    check(Chat { messages_json: c"{}".as_ptr(), ..chat }, "not a JSON array");
    check(Chat { tools_json: c"[1]".as_ptr(), ..by_struct }, "tools_json[0] is not a JSON object");
    check(Chat { thinking: 7, ..by_struct }, "thinking is 7");
    let empty = [Message { role: null(), content: null() }];
    check(Chat { messages: empty.as_ptr(), ..by_struct }, "chat->messages[0].role is NULL");
}

#[test]
fn the_model_tells_what_it_is() {
    let loaded = load(&free(ROWS), Options { context: 40, kv_type: 2, ..options() });
    // SAFETY: zeros are a value of every field.
    let mut info: Info = unsafe { std::mem::zeroed() };
    // SAFETY (all): live handles and structs.
    refused(unsafe { qwen_model_info(loaded.handle, &mut info) }, "info->size is 0");
    info.size = size_of::<Info>();
    assert_eq!(unsafe { qwen_model_info(loaded.handle, &mut info) }, 0);
    let stops = unsafe { std::slice::from_raw_parts(info.stop_tokens, info.stop_count as usize) };
    assert_eq!(unsafe { CStr::from_ptr(info.name) }, c"mock");
    assert_eq!((info.layers, info.context, info.max_context, info.vocab), (1, 40, CONTEXT, ROWS as u32));
    assert_eq!((info.kv_type, info.tokens, stops), (2, KNOWN as u32, &[IM_END, 2037][..]));
}

#[test]
fn what_cannot_be_loaded_says_why() {
    let file = Executable::talking(&free(ROWS));
    let failed = |options: Options| {
        // SAFETY: the mock keeps to the contract.
        assert!(unsafe { qwenc_load(&options, &file.model, &file.identity) }.is_null());
        said()
    };
    let at = |path: &'static CStr| Options { weights: path.as_ptr(), ..options() };
    assert!(failed(Options { size: 4, ..options() }).contains("QWEN_OPTIONS_INIT"));
    assert!(failed(Options { kv_type: 9, ..options() }).contains("kv_type is 9"));
    assert!(failed(Options { threads: 5000, ..options() }).contains("threads is 5000"));
    assert!(failed(at(c"/nowhere")).contains("cannot open /nowhere"));
    // The test has no weights at its end.
    let none = failed(options());
    assert!(none.contains("no weights: ") && none.contains("qwen_options.weights"), "{none}");
    let other = Executable::new(model(), &free(ROWS), b"", &metadata());
    let path = CString::new(other.path.as_os_str().as_bytes()).unwrap();
    assert!(failed(Options { weights: path.as_ptr(), ..options() }).contains("was not made for"));
}
