//! Outputs that cannot be written and flags that make no sense: a clear message, the right exit code,
//! and nothing new in the output's folder.

use std::path::Path;
use std::process::Command;

use qwenc_tests::program::{binary, qwenc, run, Outcome};
use qwenc_tests::variants::{folder, listing};
use qwenc_tests::{data, forged};

use crate::shown::{refusal, stable};

/// Runs `qwenc` in a folder that holds a model.bin, a folder and a checkpoint; it must be as before.
struct Place(std::path::PathBuf);

impl Place {
    fn new() -> Place {
        let place = folder();
        let path = |name: &str| place.join(name).to_str().unwrap().to_string();
        run(&mut qwenc(&["export", "sample", "-o", &path("model.bin")])).ok();
        std::fs::copy(path("model.bin"), path("out.weights")).unwrap();
        std::fs::create_dir(place.join("folder")).unwrap();
        std::fs::rename(forged::copy(&data::folder("qwen3-tied")), place.join("checkpoint")).unwrap();
        Place(place)
    }

    /// Names and lengths of all files.
    fn state(&self) -> Vec<(String, u64)> {
        let inside = |folder: &Path| {
            let size = |name: &String| folder.join(name).metadata().unwrap().len();
            listing(folder).into_iter().map(|n| (n.clone(), size(&n))).collect::<Vec<_>>()
        };
        [inside(&self.0), inside(&self.0.join("folder")), inside(&self.0.join("checkpoint"))].concat()
    }

    fn run(&self, command: &mut Command) -> Outcome {
        let before = self.state();
        let done = run(command.current_dir(&self.0));
        assert_eq!(self.state(), before, "{command:?}: {}", done.err);
        done
    }

    fn refused(&self, code: i32, line: &str) -> String {
        refusal(&format!("qwenc {line}"), code, self.run(Command::new(binary()).args(line.split(' '))))
    }
}

#[test]
fn outputs_that_cannot_be() {
    let place = Place::new();
    let refused = |code: i32, line: &str| place.refused(code, line);
    let refusals = [
        refused(1, "export sample -o folder"),
        refused(1, "compile sample -o folder"),
        refused(1, "compile sample -o folder --emit plan"),
        refused(1, "export sample -o nowhere/model.bin"),
        refused(1, "compile sample -o nowhere/qwen"),
        refused(1, "compile sample -o nowhere/qwen.o --emit obj"),
        refused(1, "export sample -o /dev/null"),
        refused(1, "compile sample -o /dev/null"),
        refused(1, "compile sample --emit plan -o /dev/full"),
        refused(2, "compile model.bin -o model.bin"),
        refused(2, "compile model.bin -o folder/../model.bin"),
        refused(2, "compile out.weights -o out --weights external"),
        refused(2, "export checkpoint -o checkpoint/config.json"),
        refused(2, "export checkpoint -o checkpoint/model.safetensors"),
        refused(2, "compile checkpoint -o checkpoint/tokenizer.json"),
        refused(2, "export sample -o model.bin --state tokenizer=model.bin"),
        refused(2, "export sample -o checkpoint/config.json --lora checkpoint:0.5"),
        refused(2, "compile sample -o checkpoint/model.safetensors --lora-runtime a=checkpoint"),
    ]
    .concat();
    insta::assert_snapshot!(refusals);
}

#[test]
fn flags_that_make_no_sense() {
    let place = Place::new();
    let refused = |code: i32, line: &str| place.refused(code, line);
    let refusals = [
        refused(2, "compile sample -o out --cpu pentium"),
        refused(2, "compile sample -o out --group-size 32"),
        refused(2, "export sample -o out --quant bf16 --group-size 32"),
        refused(2, "export sample -o out --quant int8 --group-size 0"),
        refused(2, "export sample -o out --quant int4 --group-size 12"),
        refused(2, "export sample -o out --quant int8 --quant-embeddings"),
        refused(2, "export sample -o out --quant q4_0"),
        refused(2, "compile model.bin -o out --quant int8"),
        refused(2, "export sample -o out --quant int8 --group-size x"),
        refused(2, "export sample -o out --context 4k"),
        refused(2, "compile sample --target gpu"),
        refused(2, "compile sample --target tpu"),
        refused(2, "compile"),
        refused(2, "talk sample"),
    ]
    .concat();
    insta::assert_snapshot!(refusals);
}

/// A text can go to a device or a pipe, which stays what it is.
#[test]
fn text_goes_to_devices_and_through_links() {
    use std::os::unix::fs::FileTypeExt;
    let text = run(&mut qwenc(&["compile", "sample", "--emit", "plan"])).ok();
    assert_eq!(run(&mut qwenc(&["compile", "sample", "--emit", "plan", "-o", "/dev/stdout"])).ok(), text);
    run(&mut qwenc(&["compile", "sample", "--emit", "plan", "-o", "/dev/null"])).ok();
    assert!(Path::new("/dev/null").metadata().unwrap().file_type().is_char_device());

    let place = folder();
    let (target, link) = (place.join("target"), place.join("link"));
    std::fs::write(&target, "old").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    run(&mut qwenc(&["compile", "sample", "--emit", "plan", "-o", link.to_str().unwrap()])).ok();
    assert!(link.is_symlink());
    assert_eq!(std::fs::read_to_string(&target).unwrap(), text);
}

/// A disk that is full after some bytes is played by a limit on file sizes whose signal is ignored:
/// writes then fail as on a full disk, with other words. Needs no privileges, so it is never skipped.
#[test]
fn a_full_disk() {
    let place = Place::new();
    let limited = |kilobytes: u32, line: &str| {
        // The unit of `ulimit -f` is 512 bytes in some shells and 1024 in others.
        let script = format!("trap '' XFSZ; ulimit -f {kilobytes}; exec \"$0\" {line}");
        let done = place.run(Command::new("sh").args(["-c", &script]).arg(binary()));
        let said = done.refused(1);
        assert!(said.contains("File too large"), "{line} within {kilobytes} K: {said}");
        stable(&said)
    };
    let export = limited(100, "export sample -o out");
    assert_eq!(export, "error: out: cannot write: File too large (os error 27)\n");
    // The model.bin within a compilation, the packed weights, the unpacked runtime.
    let path = place.0.join("model.bin").to_str().unwrap().to_string();
    for (kilobytes, line) in
        [(100, "compile sample -o out"), (100, "compile model.bin -o out"), (6000, "compile sample -o out")]
    {
        let said = limited(kilobytes, &line.replace("model.bin", &path));
        assert!(said.starts_with("error: out: "), "{said}");
    }
    limited(0, "compile sample -o out --emit llvm-ir");
}
