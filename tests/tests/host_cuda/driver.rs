//! The stand-in for the driver, as a program in C++ meets it.
//!
//! The numbers are the driver API's: 1 invalid value, 2 out of memory, 3 not initialised, 100 no device,
//! 101 invalid device, 200 invalid image, 201 no context, 209 no code for this device, 218 invalid PTX,
//! 222 PTX too new, 400 invalid handle, 500 not found, 600 not ready, 720 too many blocks, 900 not while recording.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use qwenc_tests::host_cuda::{compiler, driver, Host};
use qwenc_tests::program::{run, Outcome};
use qwenc_tests::variants;

fn client() -> &'static (PathBuf, Host) {
    static CLIENT: OnceLock<(PathBuf, Host)> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let folder = variants::folder();
        let (source, program) = (folder.join("client.cpp"), folder.join("client"));
        std::fs::write(&source, include_str!("client.cpp")).unwrap();
        let mut command = compiler();
        command.args(["-Wextra", "-Werror", "-o"]).arg(&program).arg(&source);
        run(command.arg(driver().join("libcuda.so.1"))).ok();
        (program, Host::new(super::SOURCE))
    })
}

fn meets(scenario: &str, environment: &[(&str, &str)]) -> Outcome {
    let (program, host) = client();
    let mut command = Command::new(program);
    host.lend(command.arg(scenario), 1).envs(environment.iter().copied());
    run(&mut command)
}

/// Text that it printed after its usual beginning.
fn said(scenario: &str, environment: &[(&str, &str)]) -> String {
    let all = meets(scenario, environment).ok();
    let start = "count 3\nalloc 201\ndevice 101\n";
    all.strip_prefix(start).unwrap_or_else(|| panic!("{all}")).replace('\n', "; ")
}

/// The message of a program that was ended.
fn died(scenario: &str) -> String {
    let outcome = meets(scenario, &[]);
    assert_eq!(outcome.code, None, "{scenario}: {outcome:?}");
    outcome.err
}

#[test]
fn kernels_are_launched() {
    assert_eq!(said("launch", &[]), "launch 0; sum 64; ");
}

#[test]
fn nothing_is_done_before_somebody_waits() {
    assert_eq!(said("late", &[]), "before 0; after 64; overwritten 320; ");
}

#[test]
fn graphs_repeat_what_was_recorded() {
    let expected =
        "begin 0; launch 0; synchronize 900; alloc 900; end 0; instantiate 0; sum 64; sum 128; sum 192; ";
    assert_eq!(said("graph", &[]), expected);
}

#[test]
fn events_tell_the_time_once_they_are_reached() {
    assert_eq!(said("events", &[]), "elapsed 400; elapsed 600; elapsed 0; took 1; ");
}

#[test]
fn limits_are_those_of_a_device() {
    let expected =
        "alloc 2; copy 1; read 1; shared 1; threads 1; blocks 1; name 500; attribute 1; attribute 0; \
                    shared 0; together 720; free 1; end 0; ";
    assert_eq!(said("limits", &[]), expected);
}

#[test]
fn code_for_another_device_does_not_load() {
    let images = |sm| said("images", &[("QWENC_HOST_SM", sm)]);
    let text = "ptx 222; ptx 200; ptx 200; ptx 218; ";
    let ampere = "cubin 0; cubin 0; cubin 209; cubin 209; ptx 0; ptx 218; ";
    assert_eq!(images("86"), format!("{ampere}{text}"));
    let hopper = "cubin 209; cubin 209; cubin 209; cubin 0; ptx 0; ptx 0; ";
    assert_eq!(images("90"), format!("{hopper}{text}"));
}

#[test]
fn devices_are_as_the_environment_says() {
    let none = meets("launch", &[("QWENC_HOST_DEVICES", "0")]).ok();
    assert_eq!(none, "count 3\ninit 100\n");
    let two = meets("launch", &[("QWENC_HOST_DEVICES", "2")]).ok();
    assert!(two.contains("device 0\n"), "{two}");
    assert_eq!(said("no more", &[("QWENC_HOST_MEMORY", "10000")]), "alloc 2; ");
}

#[test]
fn what_a_device_does_not_forgive_ends_the_program() {
    let freed = died("freed");
    assert!(freed.contains("kernel reduce, block (0, 0, 0), thread"), "{freed}");
    assert!(freed.contains("bytes into 1024 bytes of device memory that were freed"), "{freed}");
    let host = died("host memory");
    assert!(host.contains("launch of reduce: weights is address"), "{host}");
    assert!(host.contains("which is no device memory"), "{host}");
    let far = died("far");
    assert!(far.contains("kernel reads_behind, block (0, 0, 0), thread"), "{far}");
    assert!(far.contains("bytes into 4096 bytes of device memory"), "{far}");
    for (scenario, goes_on) in [("beside", false), ("beside, at the end", true)] {
        let outcome = meets(scenario, &[]);
        assert_eq!((outcome.code, outcome.out.contains("went on")), (None, goes_on), "{outcome:?}");
        let expected =
            "something wrote beside an allocation of 200 bytes of device memory: 0 bytes behind it";
        assert!(outcome.err.contains(expected), "{}", outcome.err);
    }
}
