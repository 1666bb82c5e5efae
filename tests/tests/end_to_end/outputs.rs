//! Outputs: leftovers of a killed run, permission bits, machine code on standard output.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qwenc_tests::program::{binary, qwenc, run};
use qwenc_tests::variants::{folder, listing};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn permission_bits_of_a_replaced_output_are_kept() {
    let place = folder();
    for (emit, old, new) in [("plan", 0o600, 0o600), ("exe", 0o600, 0o700), ("exe", 0o644, 0o755)] {
        let path = place.join(emit);
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(old)).unwrap();
        run(&mut qwenc(&["compile", "sample", "--emit", emit, "-o", path.to_str().unwrap()])).ok();
        assert_eq!(mode(&path), new, "{emit} over {old:o}");
    }
    let path = place.join("model.bin");
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    run(&mut qwenc(&["export", "sample", "-o", path.to_str().unwrap()])).ok();
    assert_eq!(mode(&path), 0o600);
}

/// A killed run leaves its scratch folder; the next run removes it.
#[test]
fn what_a_killed_run_leaves_is_removed_by_the_next() {
    let place = folder();
    let scratch = |place: &Path| listing(place).into_iter().find(|name| name.starts_with(".qwenc-"));
    let mut killed = None;
    // The compilation may be over before it is seen; then another is killed.
    for _ in 0..20 {
        let mut command = Command::new(binary());
        command.args(["compile", "sample", "-o", "qwen"]).current_dir(&place).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let started = Instant::now();
        while scratch(&place).is_none() && started.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(5));
        child.kill().unwrap();
        child.wait().unwrap();
        killed = scratch(&place);
        if killed.is_some() {
            break;
        }
    }
    assert!(killed.is_some(), "a killed run leaves its folder");
    run(qwenc(&["export", "sample", "-o", "model.bin"]).current_dir(&place)).ok();
    assert_eq!(scratch(&place), None);
}

#[test]
fn machine_code_goes_where_standard_output_was_led() {
    let place = folder();
    let script = "\"$0\" compile sample --cpu x86-64-v3 --emit obj > out.o && \
                  \"$0\" compile sample --cpu x86-64-v3 --emit obj | cat > piped.o && \
                  \"$0\" compile sample --cpu x86-64-v3 --emit obj -o named.o";
    run(Command::new("sh").args(["-c", script]).arg(binary()).current_dir(&place)).ok();
    let bytes = |name: &str| std::fs::read(place.join(name)).unwrap();
    assert!(bytes("out.o").starts_with(b"\x7fELF"));
    assert!(bytes("out.o") == bytes("named.o") && bytes("piped.o") == bytes("named.o"));
    assert_eq!(listing(&place), ["named.o", "out.o", "piped.o"]);
}
