//! Generated CUDA C++ on the host. In: source text. Out: its kernels, to be launched here or by a program that
//! believes it has a GPU.
//!
//! Invariant: the source is compiled as it is. What stands in for the device and for its driver is in
//! `tests/host_cuda`; it is compiled once per process.

use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use qwenc_abi::CudaStep;

use crate::program::run;
use crate::variants;

/// The C++ compiler that everything here is compiled with. A kernel's argument is passed by value, so its size
/// must be known.
pub fn compiler() -> Command {
    let chosen = std::env::var_os("CXX").filter(|name| !name.is_empty());
    let found = chosen.unwrap_or_else(|| {
        let is_there = |name: &&str| Command::new(name).arg("--version").output().is_ok();
        let name = ["g++", "c++", "clang++"].iter().copied().find(|name| is_there(name));
        name.expect("no C++ compiler: run scripts/setup.sh, or set CXX").into()
    });
    let mut command = Command::new(found);
    command.args(["-std=c++17", "-Wall", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off"]);
    command.arg(format!("-DQWENC_STEP_BYTES={}", size_of::<CudaStep>()));
    command
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("host_cuda")
}

fn objects(names: &[&str], folder: &Path) -> Vec<PathBuf> {
    let object = |name: &&str| {
        let object = folder.join(format!("{name}.o"));
        let source = sources().join(format!("{name}.cpp"));
        run(compiler().args(["-O2", "-Wextra", "-Werror", "-c", "-o"]).arg(&object).arg(source)).ok();
        object
    };
    names.iter().map(object).collect()
}

fn scheduler() -> &'static [PathBuf] {
    static OBJECTS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    OBJECTS.get_or_init(|| objects(&["scheduler", "views", "warp", "faults"], &variants::folder()))
}

/// The folder of the stand-in for libcuda.so.1, for LD_LIBRARY_PATH.
pub fn driver() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = variants::folder();
        let parts = ["driver", "driver_memory", "driver_stream", "driver_module", "driver_step"];
        let library = folder.join("libcuda.so.1");
        let mut command = compiler();
        command.args(["-shared", "-Wl,-soname,libcuda.so.1", "-o"]).arg(&library);
        run(command.args(objects(&parts, &folder)).arg("-ldl")).ok();
        // Loaders that look for this name first must not find a real one.
        std::os::unix::fs::symlink("libcuda.so.1", folder.join("libcuda.so")).unwrap();
        folder
    })
}

/// A source's kernels in a library for the host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Path in QWENC_HOST_KERNELS.
    pub path: PathBuf,
}

impl Host {
    /// Compiles a source. Panics with the compiler's words if it does not compile.
    pub fn new(source: &str) -> Self {
        let folder = variants::folder();
        let text = folder.join("kernels.cpp");
        std::fs::write(&text, source).unwrap();
        let library = folder.join("libkernels.so");
        let mut command = compiler();
        command.args(["-O1", "-Wno-unknown-pragmas", "-Wno-unused-function", "-Werror=return-type"]);
        // A device forgives none of these; faults.cpp says where the trap was.
        command.arg("-fsanitize=alignment,bounds,shift-exponent").arg("-fsanitize-undefined-trap-on-error");
        command.arg("-I").arg(sources()).args(["-shared", "-o"]).arg(&library).arg(&text);
        run(command.args(scheduler()).args(["-ldl", "-lm"])).ok();
        Self { path: library }
    }

    /// Makes a program find the stand-in driver and these kernels; `seed` chooses the order of everything.
    pub fn lend<'c>(&self, command: &'c mut Command, seed: u64) -> &'c mut Command {
        command.env("LD_LIBRARY_PATH", driver()).env("QWENC_HOST_KERNELS", &self.path);
        command.env("QWENC_HOST_SEED", seed.to_string())
    }

    /// Loads the kernels into this process.
    pub fn load(&self) -> Kernels {
        let path = CString::new(self.path.to_str().unwrap()).unwrap();
        // SAFETY: the library was made above; it runs no code when it is loaded, and is never unloaded.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!library.is_null(), "{} does not load", self.path.display());
        Kernels { handle: library as usize }
    }
}

/// Compiles a source and loads its kernels into this process.
pub fn load(source: &str) -> Kernels {
    Host::new(source).load()
}

/// Kernels in this process. One launch of them runs at a time.
#[derive(Debug)]
pub struct Kernels {
    handle: usize,
}

/// A launch's shape.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block, a multiple of 32.
    pub threads: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// All blocks are there at once, as kernels need whose blocks wait for each other.
    pub is_cooperative: bool,
    /// Programmatic dependent launch: in weakly ordered memory its blocks see memory as it was before the launch before, until
    /// they wait.
    pub is_early: bool,
}

type TryLaunch = unsafe extern "C" fn(
    kernel: *mut c_void,
    step: *const CudaStep,
    grid: *const u32,
    threads: u32,
    shared_bytes: u32,
    seed: u64,
    all_blocks: c_int,
    is_early: c_int,
) -> *const c_char;

impl Kernels {
    fn symbol(&self, name: &str) -> *mut c_void {
        let text = CString::new(name).unwrap();
        // SAFETY: the library stays loaded.
        let symbol = unsafe { libc::dlsym(self.handle as *mut c_void, text.as_ptr()) };
        assert!(!symbol.is_null(), "the source has no extern \"C\" kernel {name}");
        symbol
    }

    /// Regions of weakly ordered memory (address and length in bytes) for the launches that follow: a block sees its own stores
    /// there, and others' stores only through fences. An empty list makes all memory coherent again.
    pub fn share(&self, regions: &[(u64, usize)]) {
        // SAFETY: views.cpp defines it with these types.
        let share: unsafe extern "C" fn(*mut c_void, usize) =
            unsafe { std::mem::transmute(self.symbol("qwenc_host_share")) };
        // SAFETY: null clears the list; a launch with regions that are no more would fault, which is reported.
        unsafe { share(std::ptr::null_mut(), 0) };
        for (address, bytes) in regions {
            // SAFETY: as above.
            unsafe { share(*address as *mut c_void, *bytes) };
        }
    }

    /// Call of [`numbered`] that the launches to come leave out; none with `None`.
    pub fn leave_out(&self, number: Option<usize>) {
        // SAFETY: scheduler.cpp defines it with these types.
        let leave_out: unsafe extern "C" fn(c_int) =
            unsafe { std::mem::transmute(self.symbol("qwenc_host_leave_out")) };
        // SAFETY: it stores a number.
        unsafe { leave_out(number.map_or(-1, |n| n as c_int)) };
    }

    /// Runs a kernel to its end; `seed` chooses the order of everything.
    ///
    /// Errors: what went wrong, and in which kernel, block and thread.
    pub fn launch(&self, name: &str, step: &CudaStep, shape: Shape, seed: u64) -> Result<(), String> {
        // SAFETY: scheduler.cpp defines it with these types.
        let launch: TryLaunch = unsafe { std::mem::transmute(self.symbol("qwenc_host_try_launch")) };
        let (all, early) = (c_int::from(shape.is_cooperative), c_int::from(shape.is_early));
        let (kernel, grid) = (self.symbol(name), shape.grid.as_ptr());
        // SAFETY: a kernel takes a step by value. What it does to the memory that the step points to is what the
        // test is about; faults come back as errors.
        let said = unsafe { launch(kernel, step, grid, shape.threads, shape.shared_bytes, seed, all, early) };
        if said.is_null() {
            return Ok(());
        }
        // SAFETY: the text ends with NUL and stays until this thread's next launch.
        Err(unsafe { CStr::from_ptr(said) }.to_string_lossy().into_owned())
    }
}

/// Source whose calls can be left out one at a time, and the line and text of each, by its number. `calls` are texts of calls
/// without a value; each must occur.
pub fn numbered(source: &str, calls: &[&str]) -> (String, Vec<String>) {
    let mut found: Vec<(usize, &str)> = Vec::new();
    for call in calls {
        let places: Vec<_> = source.match_indices(call).collect();
        assert!(!places.is_empty(), "no {call}");
        found.extend(places);
    }
    found.sort_unstable();
    let (mut text, mut from) = (String::new(), 0);
    for (number, (at, _)) in found.iter().enumerate() {
        text.push_str(&source[from..*at]);
        text.push_str(&format!("qwenc_host::left_out == {number} ? void() : "));
        from = *at;
    }
    text.push_str(&source[from..]);
    let place = |(at, call): &(usize, &str)| format!("line {}: {call}", source[..*at].lines().count());
    (text, found.iter().map(place).collect())
}

const PAGE: usize = 4096;
const ALIGNMENT: usize = 256;

/// Memory for kernels, `[len]` of T, 256-byte aligned, with nothing mapped behind it: what reads on is stopped.
#[derive(Debug)]
pub struct Memory<T> {
    base: *mut u8,
    mapped: usize,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Copy> Memory<T> {
    /// A copy of `values`.
    pub fn of(values: &[T]) -> Self {
        let bytes = size_of_val(values).next_multiple_of(ALIGNMENT);
        let mapped = bytes.next_multiple_of(PAGE) + PAGE;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, whose last page is then closed.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), mapped, access, kind, -1, 0) };
        assert_ne!(base, libc::MAP_FAILED, "no memory");
        let memory = Self { base: base.cast(), mapped, len: values.len(), element: PhantomData };
        // SAFETY: `bytes` end where the last page begins, and hold `values`.
        unsafe {
            libc::mprotect(memory.base.add(mapped - PAGE).cast(), PAGE, libc::PROT_NONE);
            memory.pointer().cast::<u8>().write_bytes(0xFF, bytes);
            memory.pointer().copy_from_nonoverlapping(values.as_ptr(), values.len());
        }
        memory
    }

    fn pointer(&self) -> *mut T {
        let bytes = (self.len * size_of::<T>()).next_multiple_of(ALIGNMENT);
        // SAFETY: within the mapping.
        unsafe { self.base.add(self.mapped - PAGE - bytes).cast() }
    }

    /// Address and length in bytes.
    pub fn region(&self) -> (u64, usize) {
        (self.address(), self.len * size_of::<T>())
    }

    /// Address for a step.
    pub fn address(&self) -> u64 {
        self.pointer() as u64
    }

    /// A copy of what it holds now.
    pub fn to_vec(&self) -> Vec<T> {
        // SAFETY: `len` values were written there, and kernels leave such as any bits make.
        unsafe { std::slice::from_raw_parts(self.pointer(), self.len) }.to_vec()
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that was made.
        unsafe { libc::munmap(self.base.cast(), self.mapped) };
    }
}
