//! Shared libraries as C and C++ programs use them: the header, the examples, what a library shows and where it finds
//! its weights.

use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

use qwenc_rt::c_api::types as t;
use qwenc_tests::data::root;
use qwenc_tests::golden::say;
use qwenc_tests::host_cuda::{driver, Host};
use qwenc_tests::program::{binary, qwenc, run, Outcome};
use qwenc_tests::valgrind::{is_installed, leakless};
use qwenc_tests::variants::{executable, folder, listing};

use crate::cuda;

/// Compilers, with warnings as errors, and the standard that the header keeps to.
const C: [&str; 2] = ["cc", "-std=c11"];
const CPP: [&str; 2] = ["c++", "-std=c++17"];
const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-pedantic", "-Werror"];

/// A folder with the sample as a library.
pub fn library(flags: &[&str]) -> PathBuf {
    let folder = folder();
    let path = folder.join("libqwen.so");
    let fixed = ["compile", "sample", "--emit", "lib", "-o", path.to_str().unwrap()];
    run(&mut qwenc(&[&fixed[..], flags].concat())).ok();
    folder
}

/// Builds an example against the library in `folder`.
fn example([compiler, standard]: [&str; 2], source: &str, folder: &Path) -> PathBuf {
    let source = root().join("runtime/c_api/examples").join(source);
    let program = folder.join(source.file_stem().unwrap());
    let mut command = Command::new(compiler);
    command.args([standard, "-g"]).args(STRICT).arg(&source).arg("-I").arg(folder).arg("-L").arg(folder);
    run(command.args(["-lqwen", "-Wl,-rpath,$ORIGIN", "-o"]).arg(&program)).ok();
    program
}

/// Assertions of C that a struct of the header is laid out as ours.
macro_rules! laid_out {
    ($c:literal, $ours:ty, $($field:ident)*) => {{
        let mut text = format!("SAME(sizeof({}), {});\n", $c, size_of::<$ours>());
        $(text += &format!("SAME(offsetof({}, {}), {});\n", $c, stringify!($field), offset_of!($ours, $field));)*
        text
    }};
}

fn layouts() -> String {
    [
        laid_out!("qwen_options", t::Options, size weights threads device context chunk batch kv_type),
        laid_out!("qwen_info", t::Info, size name architecture weight_type parameters layers hidden intermediate
            heads kv_heads head_dim context max_context vocab tokens kv_type stop_count rms_eps rope_theta stop_tokens),
        laid_out!("qwen_message", t::Message, role content),
        laid_out!("qwen_chat", t::Chat, size messages count messages_json tools_json thinking),
        laid_out!("qwen_sampling", t::SamplingChoice, temperature top_k top_p min_p seed draw),
        laid_out!("qwen_request", qwenc_rt::c_api::request::Request, cache tokens count position sampling),
        laid_out!("qwen_generation", t::Generation, size sampling max_tokens ignore_stop),
        laid_out!("qwen_report", t::Report, size ending generated prefill_tokens prefill_seconds decode_tokens
            decode_seconds),
    ]
    .concat()
        + &[
            ("QWEN_API_VERSION", t::API_VERSION as i64),
            ("QWEN_OK", t::Status::Ok as i64),
            ("QWEN_BAD_ARGUMENT", t::Status::BadArgument as i64),
            ("QWEN_FAILED", t::Status::Failed as i64),
            ("QWEN_CONTEXT_FULL", t::Status::ContextFull as i64),
            ("QWEN_INTERNAL", t::Status::Internal as i64),
            ("QWEN_NO_TOKEN", t::NO_TOKEN as i64),
            ("(int64_t)QWEN_AT_END", t::AT_END as i64),
        ]
        .map(|(name, value)| format!("SAME({name}, {value});\n"))
        .concat()
}

#[test]
fn the_header_is_clean_c_and_cpp_and_says_what_the_library_has() {
    let folder = folder();
    let header = root().join("runtime/c_api/include");
    let all = "qwen_options a = QWEN_OPTIONS_INIT; qwen_info b = QWEN_INFO_INIT; qwen_chat c = QWEN_CHAT_INIT;\n\
         qwen_generation d = QWEN_GENERATION_INIT; qwen_report e = QWEN_REPORT_INIT; qwen_sampling f = QWEN_SAMPLING_INIT;\n";
    for ([compiler, standard], name, assert) in
        [(C, "a.c", "_Static_assert"), (CPP, "a.cpp", "static_assert")]
    {
        let source = folder.join(name);
        let same = format!("#define SAME(a, b) {assert}((a) == (b), #a)\n");
        // The header must need nothing before it.
        std::fs::write(&source, format!("#include \"qwen.h\"\n{same}{all}{}", layouts())).unwrap();
        let mut command = Command::new(compiler);
        command.args([standard, "-c", "-o", "/dev/null", "-I"]).arg(&header).args(STRICT);
        run(command.arg(&source)).ok();
    }
}

/// Names of functions that the header declares.
fn declared() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("runtime/c_api/include/qwen.h")).unwrap();
    let words = |line: &str| {
        let (before, _) = line.split_once('(')?;
        let name = before.rsplit([' ', '*']).next()?;
        let declares = !line.starts_with([' ', '#', '/', '*']) && !line.starts_with("typedef");
        (declares && name.starts_with("qwen_")).then(|| name.to_string())
    };
    let mut names: Vec<String> = text.lines().filter_map(words).collect();
    names.sort();
    names
}

#[test]
fn a_library_shows_what_the_header_declares_and_nothing_else() {
    let folder = library(&[]);
    assert_eq!(listing(&folder), ["libqwen.so", "qwen.h"]);
    let header = |path: PathBuf| std::fs::read(path).unwrap();
    assert!(header(folder.join("qwen.h")) == header(root().join("runtime/c_api/include/qwen.h")));
    let said = run(Command::new("nm")
        .args(["-D", "--defined-only", "--format=posix"])
        .arg(folder.join("libqwen.so")));
    let said = said.ok();
    let shown: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(shown, declared());
    let needs = run(Command::new("ldd").arg(folder.join("libqwen.so"))).ok();
    for known in needs.lines() {
        let system = ["linux-vdso", "libgcc_s", "libm.", "libc.", "ld-linux"];
        assert!(system.iter().any(|name| known.contains(name)), "{known}");
    }
}

#[test]
fn examples_answer_as_the_executable_does() {
    let folder = library(&[]);
    let (chat, batch) = (example(C, "chat.c", &folder), example(CPP, "batch.cpp", &folder));
    let qwen = executable("sample", "bf16");
    for how in [&["0", "0"][..], &["1.2", "11"]] {
        let question = "What is the capital of Japan?";
        let flags = ["chat", "--no-think", "--prompt", question, "--top-k", "0", "--top-p", "1"];
        let expected = say(&qwen, &[&flags[..], &["--temperature", how[0], "--seed", how[1]]].concat()).ok();
        assert_eq!(say(&chat, &[question, how[0], how[1]]).ok(), expected);
        let texts = ["The capital of Brazil is", "The capital of Peru is", "Hello"];
        let fixed = ["generate", "--print-tokens", "--ignore-eos", "--max-tokens", "9"];
        let flags = [&fixed[..], &["--temperature", how[0], "--seed", how[1]]].concat();
        let expected = texts.map(|text| say(&qwen, &[&flags[..], &[text]].concat()).ok()).concat();
        let together = [&["9", how[0], how[1]][..], &texts].concat();
        assert_eq!(say(&batch, &together).ok(), expected, "together");
    }
    let said = say(&batch, &["1", "-1", "0", "Hello"]).refused(1);
    assert!(said.contains("requests[0].sampling.temperature is -1"), "{said}");
}

/// Reads and writes of library and program, and what they leave behind.
#[test]
fn examples_under_valgrind() {
    if !is_installed() {
        return;
    }
    let folder = library(&["--cpu", "x86-64-v3", "--quant", "int8"]);
    let (chat, batch) = (example(C, "chat.c", &folder), example(CPP, "batch.cpp", &folder));
    assert_eq!(leakless(&chat, &["What is 7 + 5?"]).ok(), "7 + 5 = 12.\n");
    let said =
        leakless(&batch, &["3", "1", "5", "The capital of Brazil is", "The capital of Peru is", "Hi"]).ok();
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn weights_are_found_beside_the_library_from_anywhere() {
    let folder = library(&["--weights", "external"]);
    assert_eq!(listing(&folder), ["libqwen.so", "libqwen.so.weights", "qwen.h"]);
    let chat = example(C, "chat.c", &folder);
    let ask = || run(Command::new(&chat).arg("What is 7 + 5?").current_dir("/"));
    assert_eq!(ask().ok(), "7 + 5 = 12.\n");
    std::fs::rename(folder.join("libqwen.so.weights"), folder.join("moved")).unwrap();
    let Outcome { code, err, .. } = ask();
    assert_eq!(code, Some(1));
    assert!(err.contains("no weights") && err.contains("libqwen.so.weights; put that file there"), "{err}");
    assert!(err.contains("pass qwen_options.weights"), "{err}");
}

#[test]
fn libraries_are_the_same_bytes_every_time_and_default_to_their_name() {
    let (first, second) = (library(&[]), folder());
    run(Command::new(binary()).args(["compile", "sample", "--emit", "lib"]).current_dir(&second)).ok();
    assert_eq!(listing(&second), ["libqwen.so", "qwen.h"]);
    let read = |folder: &Path| std::fs::read(folder.join("libqwen.so")).unwrap();
    assert!(read(&first) == read(&second), "libqwen.so differs from run to run");
    let header = second.join("qwen.h");
    let said =
        run(&mut qwenc(&["compile", "sample", "--emit", "lib", "-o", header.to_str().unwrap()])).refused(1);
    assert!(said.contains("the name of the header"), "{said}");
}

/// A library for GPUs, on the stand-in for driver and device.
#[test]
fn a_library_for_gpus_answers_alike() {
    let folder = folder();
    let path = folder.join("libqwen.so");
    let flags = ["--quant", "bf16", "--sm", "90"];
    run(&mut cuda::compile(&[&flags[..], &["--emit", "lib", "-o", path.to_str().unwrap()]].concat())).ok();
    let kernels = Host::new(&run(&mut cuda::compile(&["--quant", "bf16", "--emit", "cuda"])).ok());
    let on_host = |program: &Path, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).env("LD_LIBRARY_PATH", driver()).env("QWENC_HOST_KERNELS", &kernels.path);
        run(command.env("QWENC_HOST_SEED", "3")).ok()
    };
    let (chat, batch) = (example(C, "chat.c", &folder), example(CPP, "batch.cpp", &folder));
    assert_eq!(on_host(&chat, &["What is 7 + 5?"]), "7 + 5 = 12.\n");
    let texts = ["The capital of Brazil is", "The capital of Peru is"];
    let expected = texts.map(|text| {
        let flags = ["generate", "--print-tokens", "--ignore-eos", "--max-tokens", "3"];
        say(&executable("sample", "bf16"), &[&flags[..], &[text]].concat()).ok()
    });
    assert_eq!(on_host(&batch, &[&["3", "0", "0"][..], &texts].concat()), expected.concat());
}
