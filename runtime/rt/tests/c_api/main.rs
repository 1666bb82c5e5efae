//! The C interface with a mock model inside, called as C calls it: what it refuses, and what it gives.

#![allow(clippy::unwrap_used)]

mod about;
#[path = "../mock/mod.rs"]
mod mock;

use std::ffi::{c_char, c_void, CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::ptr::{null, null_mut};

use mock::{chain, free, Executable, CONTEXT, IM_END, KNOWN, ROWS};
use qwenc_rt::c_api::border::qwen_last_error;
use qwenc_rt::c_api::caches::*;
use qwenc_rt::c_api::generate::qwen_generate;
use qwenc_rt::c_api::handles::{QwenCache, QwenModel};
use qwenc_rt::c_api::infer::{qwen_infer_batch, qwen_logits_batch};
use qwenc_rt::c_api::load::{qwen_free, qwenc_load};
use qwenc_rt::c_api::request::Request;
use qwenc_rt::c_api::text::qwen_detokenize;
use qwenc_rt::c_api::types::*;

const GREEDY: SamplingChoice =
    SamplingChoice { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0, draw: 0 };
const BAD: i32 = Status::BadArgument as i32;

fn said() -> String {
    // SAFETY: it is always a text.
    unsafe { CStr::from_ptr(qwen_last_error()) }.to_str().unwrap().to_owned()
}

/// A call that was refused, and why.
#[track_caller]
fn refused(code: impl Into<i64>, part: &str) {
    assert_eq!(code.into(), i64::from(BAD), "{}", said());
    assert!(said().contains(part), "{part} not in: {}", said());
}

/// A model loaded from a file, freed at the end.
struct Loaded {
    handle: *mut QwenModel,
    _file: &'static Executable,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: it is not used any more.
        unsafe { qwen_free(self.handle) };
    }
}

fn options() -> Options {
    Options {
        size: size_of::<Options>(),
        weights: null(),
        threads: 2,
        device: 0,
        context: 0,
        chunk: 0,
        batch: 0,
        kv_type: 0,
    }
}

fn load(table: &[u32], options: Options) -> Loaded {
    // What a library has as constants lives as long as the test.
    let file: &'static Executable = Box::leak(Box::new(Executable::talking(table)));
    let weights = CString::new(file.path.as_os_str().as_bytes()).unwrap();
    let options = Options { weights: weights.as_ptr(), ..options };
    // SAFETY: the mock keeps to the contract.
    let handle = unsafe { qwenc_load(&options, &file.model, &file.identity) };
    assert!(!handle.is_null(), "{}", said());
    Loaded { handle, _file: file }
}

struct Cache(*mut QwenCache);

impl Drop for Cache {
    fn drop(&mut self) {
        // SAFETY: it is not used any more.
        unsafe { qwen_cache_free(self.0) };
    }
}

impl Loaded {
    fn cache(&self) -> Cache {
        // SAFETY: a live handle.
        let cache = unsafe { qwen_cache_new(self.handle) };
        assert!(!cache.is_null(), "{}", said());
        Cache(cache)
    }

    fn infer(&self, requests: &[Request]) -> Result<Vec<u32>, i32> {
        let mut next = vec![0; requests.len()];
        // SAFETY: live handles and arrays.
        match unsafe { qwen_infer_batch(self.handle, requests.as_ptr(), requests.len(), next.as_mut_ptr()) } {
            0 => Ok(next),
            status => Err(status),
        }
    }

    /// Tokens that follow, until one stops or there are `most`.
    fn generate(&self, cache: &Cache, tokens: &[u32], how: Generation) -> (Vec<u32>, String, Report) {
        let mut seen = (Vec::new(), String::new());
        let mut report = Report {
            size: size_of::<Report>(),
            ending: -1,
            generated: 0,
            prefill_tokens: 0,
            prefill_seconds: 0.0,
            decode_tokens: 0,
            decode_seconds: 0.0,
        };
        // SAFETY: live handles, arrays and structs.
        let status = unsafe {
            let user = (&raw mut seen).cast();
            qwen_generate(
                self.handle,
                cache.0,
                tokens.as_ptr(),
                tokens.len(),
                &how,
                Some(collect),
                user,
                &mut report,
            )
        };
        assert_eq!(status, 0, "{}", said());
        (seen.0, seen.1, report)
    }
}

unsafe extern "C" fn collect(user: *mut c_void, token: u32, text: *const c_char, bytes: usize) -> i32 {
    let (tokens, said) = &mut *user.cast::<(Vec<u32>, String)>();
    if token != NO_TOKEN {
        tokens.push(token);
    }
    said.push_str(std::str::from_utf8(std::slice::from_raw_parts(text.cast(), bytes)).unwrap());
    0
}

fn request(cache: &Cache, tokens: &[u32], position: usize, sampling: SamplingChoice) -> Request {
    Request { cache: cache.0, tokens: tokens.as_ptr(), count: tokens.len(), position, sampling }
}

fn generation(max_tokens: u32, sampling: SamplingChoice) -> Generation {
    Generation { size: size_of::<Generation>(), sampling, max_tokens, ignore_stop: 0 }
}

fn held(cache: &Cache) -> Vec<u32> {
    let mut tokens = vec![0; CONTEXT as usize];
    // SAFETY: a live handle and array.
    let count = unsafe { qwen_cache_tokens(cache.0, tokens.as_mut_ptr(), tokens.len()) };
    tokens.truncate(usize::try_from(count).unwrap());
    tokens
}

/// Answer of `generate` on the command line to these tokens.
fn on_the_command_line(table: &[u32], tokens: &[u32], flags: &[&str]) -> Vec<u32> {
    let tokens: Vec<String> = tokens.iter().map(u32::to_string).collect();
    let fixed = ["generate", "--print-tokens", "--tokens", &tokens.join(",")];
    let said = Executable::talking(table).run(&[&fixed[..], flags].concat()).ok();
    said.trim().split(',').map(|id| id.parse().unwrap()).collect()
}

#[test]
fn generation_is_that_of_the_command_line() {
    let table = chain(&[277, 1147, 13, IM_END]);
    let loaded = load(&table, options());
    let cache = loaded.cache();
    let (tokens, text, report) = loaded.generate(&cache, &[267, 301, 278, 1524, 277], generation(0, GREEDY));
    assert_eq!((tokens, text.as_str()), (vec![1147, 13, IM_END], " Brasília."));
    assert_eq!((report.ending, report.generated, report.prefill_tokens), (0, 3, 5));
    assert_eq!(held(&cache), [267, 301, 278, 1524, 277, 1147, 13]);

    let table = free(ROWS);
    let loaded = load(&table, options());
    let how = SamplingChoice { temperature: 1.5, top_p: 0.9, seed: 7, ..GREEDY };
    let flags = ["--temperature", "1.5", "--top-p", "0.9", "--seed", "7", "--max-tokens", "20"];
    let expected = on_the_command_line(&table, &[5, 6, 7], &flags);
    let (tokens, _, report) = loaded.generate(&loaded.cache(), &[5, 6, 7], generation(20, how));
    assert_eq!((&tokens, report.ending), (&expected, 1));
    // The same one by one, each with its draw, beside a neighbour that does something else.
    let (one, other) = (loaded.cache(), loaded.cache());
    let mut prompt = vec![5, 6, 7];
    for (draw, &wanted) in expected.iter().enumerate() {
        let neighbour = [9; 11];
        let busy = [
            request(&other, &neighbour, 0, SamplingChoice { temperature: 2.0, seed: 1, ..GREEDY }),
            request(&one, &prompt, AT_END, SamplingChoice { draw: draw as u64, ..how }),
        ];
        let next = loaded.infer(&busy).unwrap();
        assert_eq!(next[1], wanted, "{draw}");
        prompt = vec![wanted];
    }
}

#[test]
fn caches_are_forked_cut_and_reused() {
    let loaded = load(&free(ROWS), options());
    let next = |tokens: &[u32]| {
        let cache = loaded.cache();
        loaded.infer(&[request(&cache, tokens, AT_END, GREEDY)]).unwrap()[0]
    };
    let first = loaded.cache();
    loaded.infer(&[request(&first, &[1, 2, 3, 4, 5], AT_END, GREEDY)]).unwrap();
    // SAFETY (all): live handles and arrays.
    let copy = Cache(unsafe { qwen_cache_duplicate(first.0, 3) });
    assert_eq!((held(&copy), held(&first)), (vec![1, 2, 3], vec![1, 2, 3, 4, 5]));
    let found =
        loaded.infer(&[request(&copy, &[9], AT_END, GREEDY), request(&first, &[9], 2, GREEDY)]).unwrap();
    assert_eq!(found, [next(&[1, 2, 3, 9]), next(&[1, 2, 9])]);
    assert_eq!(held(&first), [1, 2, 9]);
    assert_eq!(unsafe { qwen_cache_reuse(copy.0, [1, 2, 8].as_ptr(), 3) }, 2);
    assert_eq!(unsafe { qwen_cache_truncate(copy.0, 1) }, 0);
    assert_eq!(unsafe { qwen_cache_length(copy.0) }, 1);
    refused(unsafe { qwen_cache_truncate(copy.0, 2) }, "the cache holds 1 tokens");
    assert!(unsafe { qwen_cache_duplicate(copy.0, 2) }.is_null());
    // A cache keeps its model alive.
    let orphan = {
        let short = load(&free(ROWS), options());
        short.cache()
    };
    assert_eq!(unsafe { qwen_cache_length(orphan.0) }, 0);
}

#[test]
fn logits_are_what_tokens_are_chosen_from() {
    let loaded = load(&free(ROWS), options());
    let (a, b) = (loaded.cache(), loaded.cache());
    let requests = [request(&a, &[1, 2, 3], 0, GREEDY), request(&b, &[4], 0, GREEDY)];
    let mut logits = vec![0f32; 2 * ROWS];
    // SAFETY: live handles and arrays.
    assert_eq!(unsafe { qwen_logits_batch(loaded.handle, requests.as_ptr(), 2, logits.as_mut_ptr()) }, 0);
    let best = |row: &[f32]| (0..KNOWN).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32;
    let likeliest = [best(&logits[..ROWS]), best(&logits[ROWS..])];
    assert_eq!(loaded.infer(&requests).unwrap(), likeliest);
}

#[test]
fn bad_requests_change_nothing() {
    let loaded = load(&free(ROWS), Options { context: 8, ..options() });
    let (a, b) = (loaded.cache(), loaded.cache());
    loaded.infer(&[request(&a, &[1, 2, 3], 0, GREEDY)]).unwrap();
    let check = |bad: Request, part: &str| {
        refused(loaded.infer(&[request(&b, &[7], 0, GREEDY), bad]).unwrap_err(), part);
        assert_eq!((held(&a), held(&b)), (vec![1, 2, 3], vec![]), "{part}");
    };
    check(Request { cache: null_mut(), ..request(&a, &[1], 0, GREEDY) }, "requests[1].cache is NULL");
    check(Request { tokens: null(), ..request(&a, &[1], 0, GREEDY) }, "requests[1].tokens is NULL");
    check(request(&a, &[], 0, GREEDY), "requests[1].count is 0");
    check(request(&a, &[1], 4, GREEDY), "position is 4, and its cache holds 3");
    check(request(&a, &[ROWS as u32], 0, GREEDY), "tokens 0 to 2047");
    check(request(&b, &[1], 0, GREEDY), "requests[0] and requests[1] have one cache");
    check(request(&load(&free(ROWS), options()).cache(), &[1], 0, GREEDY), "cache of another model");
    for (bad, part) in [
        (SamplingChoice { temperature: f32::NAN, ..GREEDY }, "temperature is NaN"),
        (SamplingChoice { temperature: -1.0, ..GREEDY }, "temperature is -1"),
        (SamplingChoice { top_p: 1.5, ..GREEDY }, "top_p is 1.5"),
        (SamplingChoice { min_p: -0.5, ..GREEDY }, "min_p is -0.5"),
    ] {
        check(request(&a, &[1], 0, bad), part);
    }
    let full = loaded.infer(&[request(&b, &[7], 0, GREEDY), request(&a, &[1; 6], AT_END, GREEDY)]);
    assert_eq!(full, Err(Status::ContextFull as i32));
    assert!(said().contains(
        "9 tokens are needed and it holds 8; shorten the input, or start with qwen_options.context up to"
    ));
    assert_eq!((held(&a), held(&b)), (vec![1, 2, 3], vec![]));
    // SAFETY: null is refused before anything is read.
    unsafe {
        refused(qwen_infer_batch(null_mut(), null(), 0, null_mut()), "model is NULL");
        refused(qwen_infer_batch(loaded.handle, null(), 2, null_mut()), "requests is NULL");
        refused(
            qwen_infer_batch(loaded.handle, &request(&a, &[1], 0, GREEDY), 1, null_mut()),
            "next is NULL",
        );
        refused(qwen_cache_length(null()), "cache is NULL");
        assert!(qwen_cache_new(null_mut()).is_null());
        assert_eq!(qwen_infer_batch(loaded.handle, null(), 0, null_mut()), 0);
        qwen_free(null_mut());
        qwen_cache_free(null_mut());
    }
}

unsafe extern "C" fn meddle(user: *mut c_void, _: u32, _: *const c_char, _: usize) -> i32 {
    let (loaded, cache, calls) = &mut *user.cast::<(&Loaded, &Cache, u32)>();
    *calls += 1;
    refused(loaded.infer(&[request(cache, &[1], AT_END, GREEDY)]).unwrap_err(), "waiting for this callback");
    // What needs no cache goes on.
    assert_eq!(qwen_detokenize(loaded.handle, [13].as_ptr(), 1, null_mut(), 0), 1);
    i32::from(*calls == 3)
}

#[test]
fn callbacks_end_answers_and_cannot_lock_themselves_out() {
    let loaded = load(&free(ROWS), options());
    let (cache, other) = (loaded.cache(), loaded.cache());
    let mut user = (&loaded, &other, 0u32);
    let how = Generation { ignore_stop: 1, ..generation(50, GREEDY) };
    // SAFETY: live handles, arrays and structs.
    let status = unsafe {
        let user = (&raw mut user).cast();
        qwen_generate(loaded.handle, cache.0, [1, 2].as_ptr(), 2, &how, Some(meddle), user, null_mut())
    };
    assert_eq!((status, user.2), (0, 3), "{}", said());
    assert_eq!(held(&cache).len(), 4);
    // SAFETY: live handles.
    let empty =
        unsafe { qwen_generate(loaded.handle, cache.0, null(), 0, null(), None, null_mut(), null_mut()) };
    refused(empty, "count is 0");
}

/// Calls of many threads take turns, on one cache too.
#[test]
fn threads_share_a_model() {
    let loaded = load(&free(ROWS), options());
    let shared = loaded.cache();
    let (model, one) = (loaded.handle.expose_provenance(), shared.0.expose_provenance());
    let alone = {
        let cache = loaded.cache();
        loaded.generate(&cache, &[3, 4], generation(12, GREEDY)).0
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let model = std::ptr::with_exposed_provenance_mut::<QwenModel>(model);
                // SAFETY (all): live handles and arrays.
                let cache = Cache(unsafe { qwen_cache_new(model) });
                let mut seen: (Vec<u32>, String) = Default::default();
                let how = generation(12, GREEDY);
                let status = unsafe {
                    let user = (&raw mut seen).cast();
                    qwen_generate(model, cache.0, [3, 4].as_ptr(), 2, &how, Some(collect), user, null_mut())
                };
                assert_eq!((status, &seen.0), (0, &alone));
                let one = std::ptr::with_exposed_provenance_mut::<QwenCache>(one);
                let request = Request {
                    cache: one,
                    tokens: [5].as_ptr(),
                    count: 1,
                    position: AT_END,
                    sampling: GREEDY,
                };
                assert_eq!(unsafe { qwen_infer_batch(model, &request, 1, &mut 0) }, 0);
            });
        }
    });
    assert_eq!(held(&shared), [5; 4]);
}
