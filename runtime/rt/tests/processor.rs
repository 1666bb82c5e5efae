//! A processor that lacks what the code uses is named before the code runs. Alone in its file, as
//! the environment belongs to the whole process.

#![allow(clippy::unwrap_used)]

mod mock;

use mock::{free, Executable, ROWS};

#[test]
fn missing_instructions_are_named_by_every_command_that_runs_code() {
    let e = Executable::talking(&free(ROWS));
    std::env::set_var("QWENC_HIDE_CPU_FEATURES", "avx2,sse2");
    let out = e.folder.path().join("o");
    let commands: [&[&str]; 4] = [
        &["generate", "a"],
        &["chat", "--prompt", "a"],
        &["bench"],
        &["logits", "--tokens", "1", "--out", out.to_str().unwrap()],
    ];
    for args in commands {
        let said = e.run(args).refused(1);
        assert!(said.contains("lacks sse2,") && said.contains("--cpu native"), "{said}");
    }
    // What does not run code still works, and says so.
    assert!(e.run(&["info"]).ok().contains("NOT all present"));
    e.run(&["verify"]).ok();
}
