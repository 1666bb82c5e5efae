//! The functions of libnvrtc.so.
//!
//! In: a path. Out: calls whose results are checked. Invariant: exactly the named file is used, whatever other
//! NVRTC the loader would find first, and it stays loaded, so its functions stay valid. NVRTC's functions may be
//! called from several threads, on different programs.

use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr;

use crate::nvrtc::error::NvrtcError;

/// `nvrtcResult`; 0 is success. A newer library may have numbers that are not known here.
type Status = c_int;
/// `nvrtcProgram`.
type Handle = *mut c_void;

type Size = unsafe extern "C" fn(Handle, *mut usize) -> Status;
type Bytes = unsafe extern "C" fn(Handle, *mut c_char) -> Status;

/// A loaded library.
#[derive(Debug)]
pub(super) struct Library {
    path: PathBuf,
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Status,
    count: unsafe extern "C" fn(*mut c_int) -> Status,
    architectures: unsafe extern "C" fn(*mut c_int) -> Status,
    words: unsafe extern "C" fn(Status) -> *const c_char,
    create: unsafe extern "C" fn(
        *mut Handle,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Status,
    destroy: unsafe extern "C" fn(*mut Handle) -> Status,
    compile: unsafe extern "C" fn(Handle, c_int, *const *const c_char) -> Status,
    log: (Size, Bytes),
    cubin: (Size, Bytes),
    ptx: (Size, Bytes),
}

/// The last error of `dlopen` and `dlsym` on this thread.
fn loader_words() -> String {
    // SAFETY: the string is valid until the next call of the loader on this thread.
    unsafe {
        let words = libc::dlerror();
        match words.is_null() {
            true => "no reason given".to_string(),
            false => CStr::from_ptr(words).to_string_lossy().into_owned(),
        }
    }
}

/// A function of a library.
struct Symbols<'a> {
    handle: *mut c_void,
    path: &'a Path,
}

impl Symbols<'_> {
    /// # Safety
    /// `F` must be the type of the function of this name.
    unsafe fn get<F: Copy>(&self, name: &CStr) -> Result<F, NvrtcError> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let function = libc::dlsym(self.handle, name.as_ptr());
        match function.is_null() {
            true => Err(NvrtcError::Load { path: self.path.to_path_buf(), words: loader_words() }),
            false => Ok(std::mem::transmute_copy(&function)),
        }
    }
}

/// Loads the libraries of NVRTC's built-in functions that lie beside it. NVRTC opens its own by name; that of CUDA
/// 13.0 has no run path to its own folder, and the loader finds the file only if it is loaded already.
fn load_builtins(nvrtc: &Path) {
    let folder = nvrtc.canonicalize().ok().and_then(|file| file.parent().map(Path::to_path_buf));
    for file in folder.and_then(|folder| folder.read_dir().ok()).into_iter().flatten().flatten() {
        let is_one = file.file_name().as_bytes().starts_with(BUILTINS.as_bytes());
        if let Some(name) = CString::new(file.path().into_os_string().into_vec()).ok().filter(|_| is_one) {
            // One that cannot be loaded is one that NVRTC will not find; what it says then is reported.
            // SAFETY: as for NVRTC itself.
            unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        }
    }
}

/// File name prefix of those libraries.
const BUILTINS: &str = "libnvrtc-builtins.so";

impl Library {
    pub(super) fn load(path: &Path) -> Result<Library, NvrtcError> {
        let failed = |words: String| NvrtcError::Load { path: path.to_path_buf(), words };
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|e| failed(e.to_string()))?;
        load_builtins(path);
        // SAFETY: the name is a C string; what the library does when it is loaded is as trustworthy as the
        // installation that it comes from.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(failed(loader_words()));
        }
        let of = Symbols { handle, path };
        // SAFETY: the types are those of nvrtc.h, the same since CUDA 11.2.
        unsafe {
            Ok(Library {
                path: path.to_path_buf(),
                version: of.get(c"nvrtcVersion")?,
                count: of.get(c"nvrtcGetNumSupportedArchs")?,
                architectures: of.get(c"nvrtcGetSupportedArchs")?,
                words: of.get(c"nvrtcGetErrorString")?,
                create: of.get(c"nvrtcCreateProgram")?,
                destroy: of.get(c"nvrtcDestroyProgram")?,
                compile: of.get(c"nvrtcCompileProgram")?,
                log: (of.get(c"nvrtcGetProgramLogSize")?, of.get(c"nvrtcGetProgramLog")?),
                cubin: (of.get(c"nvrtcGetCUBINSize")?, of.get(c"nvrtcGetCUBIN")?),
                ptx: (of.get(c"nvrtcGetPTXSize")?, of.get(c"nvrtcGetPTX")?),
            })
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Major and minor number.
    pub(super) fn version(&self) -> Result<(u32, u32), NvrtcError> {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: two integers to write to.
        self.check("asking for the version", unsafe { (self.version)(&mut major, &mut minor) })?;
        Ok((major.unsigned_abs(), minor.unsigned_abs()))
    }

    /// Compute capabilities, 10 times, ascending.
    pub(super) fn architectures(&self) -> Result<Vec<u32>, NvrtcError> {
        let what = "asking for the architectures";
        let mut count = 0;
        // SAFETY: an integer to write to, then as many as it said.
        self.check(what, unsafe { (self.count)(&mut count) })?;
        let mut all: Vec<c_int> = vec![0; usize::try_from(count).unwrap_or(0)];
        self.check(what, unsafe { (self.architectures)(all.as_mut_ptr()) })?;
        Ok(all.into_iter().map(c_int::unsigned_abs).collect())
    }

    /// A program with this text, which messages call `name`.
    pub(super) fn program(&self, text: &CStr, name: &CStr) -> Result<Program<'_>, NvrtcError> {
        let mut handle = ptr::null_mut();
        // SAFETY: C strings, which NVRTC copies, and no headers.
        let status =
            unsafe { (self.create)(&mut handle, text.as_ptr(), name.as_ptr(), 0, ptr::null(), ptr::null()) };
        self.check("taking the source", status)?;
        Ok(Program { nvrtc: self, handle })
    }

    fn check(&self, what: &'static str, status: Status) -> Result<(), NvrtcError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the function takes any number and returns a constant.
        let words = unsafe { CStr::from_ptr((self.words)(status)) };
        Err(NvrtcError::Call { what, words: words.to_string_lossy().into_owned() })
    }
}

/// A program; freed when dropped.
pub(super) struct Program<'a> {
    nvrtc: &'a Library,
    handle: Handle,
}

impl Program<'_> {
    /// Compiles; `about` stands in the message if the text is refused.
    pub(super) fn compile(&self, options: &[CString], about: &str) -> Result<(), NvrtcError> {
        let options: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let count = c_int::try_from(options.len()).unwrap_or(c_int::MAX);
        // SAFETY: `count` C strings; the program is alive.
        let status = unsafe { (self.nvrtc.compile)(self.handle, count, options.as_ptr()) };
        /// `NVRTC_ERROR_COMPILATION` and `NVRTC_ERROR_BUILTIN_OPERATION_FAILURE`.
        const REFUSED: Status = 6;
        const NO_BUILTINS: Status = 7;
        if status == NO_BUILTINS {
            return Err(NvrtcError::Builtins { path: self.nvrtc.path.clone(), name: BUILTINS });
        }
        if status == REFUSED {
            let log = self.read("reading the log", self.nvrtc.log)?;
            let log = String::from_utf8_lossy(&log).trim_end_matches(['\0', '\n']).to_string();
            return Err(NvrtcError::Source { options: about.to_string(), log });
        }
        self.nvrtc.check("compiling", status)
    }

    /// Machine code; only after compiling for a real architecture (`sm_`).
    pub(super) fn cubin(&self) -> Result<Vec<u8>, NvrtcError> {
        self.read("reading the cubin", self.nvrtc.cubin)
    }

    /// PTX, with a NUL at its end.
    pub(super) fn ptx(&self) -> Result<Vec<u8>, NvrtcError> {
        self.read("reading the PTX", self.nvrtc.ptx)
    }

    fn read(&self, what: &'static str, (size, bytes): (Size, Bytes)) -> Result<Vec<u8>, NvrtcError> {
        let mut count = 0;
        // SAFETY: the program is alive; the buffer is as long as NVRTC says.
        self.nvrtc.check(what, unsafe { size(self.handle, &mut count) })?;
        let mut out = vec![0u8; count];
        self.nvrtc.check(what, unsafe { bytes(self.handle, out.as_mut_ptr().cast()) })?;
        Ok(out)
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: it was made by `create` and is not used again. Nothing can be done if NVRTC complains.
        unsafe { (self.nvrtc.destroy)(&mut self.handle) };
    }
}
