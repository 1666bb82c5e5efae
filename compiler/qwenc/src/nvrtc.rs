//! Search for NVRTC.
//!
//! In: the environment, and the names of files. Out: paths to try, in order. Invariant: QWENC_NVRTC, where it is
//! set, is the only one; of several versions in one place the newest is taken; nothing is loaded or run here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The variable that names a file or a folder.
const VARIABLE: &str = "QWENC_NVRTC";
/// Beginning of the library's name; a version may follow.
const LIBRARY: &str = "libnvrtc.so";

/// Paths to try, and how they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Files, and names for the system's loader.
    pub candidates: Vec<PathBuf>,
    /// Path in QWENC_NVRTC.
    named: Option<PathBuf>,
}

impl Search {
    /// With this process's environment.
    pub fn of_this_machine() -> Search {
        Search::of(&|name| std::env::var_os(name), Path::new("/"))
    }

    fn of(variable: &dyn Fn(&str) -> Option<OsString>, root: &Path) -> Search {
        let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(named) = path(VARIABLE) {
            // A name without a slash would be looked for elsewhere.
            let file = if named.is_absolute() { named.clone() } else { Path::new(".").join(&named) };
            let candidates = if named.is_dir() { library(&file).into_iter().collect() } else { vec![file] };
            return Search { candidates, named: Some(named) };
        }
        let versions = [".13", ".12", ""].map(|version| PathBuf::from(format!("{LIBRARY}{version}")));
        let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(path);
        let toolkits = toolkits.chain(matching(&root.join("usr/local"), "cuda"));
        let home = path("HOME").unwrap_or_default();
        let bins: Vec<PathBuf> = path("PATH").iter().flat_map(std::env::split_paths).collect();
        let prefixes = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(path);
        let prefixes = prefixes
            .chain(bins.iter().flat_map(|bin| pythons(bin)))
            .chain([home.join(".local")])
            .chain(matching(&home.join(".pyenv/versions"), ""))
            .chain([root.join("usr/local"), root.join("usr")]);
        let folders = toolkits.chain(path("CONDA_PREFIX")).flat_map(|t| [t.join("lib64"), t.join("lib")]);
        let folders = folders.chain(prefixes.flat_map(|prefix| wheels(&prefix)));
        let mut candidates: Vec<PathBuf> = versions.into();
        for file in folders.filter_map(|folder| library(&folder)) {
            if !candidates.contains(&file) {
                candidates.push(file);
            }
        }
        Search { candidates, named: None }
    }

    /// Advice if nothing was found.
    pub fn advice(&self) -> String {
        match &self.named {
            Some(path) => format!("or change {VARIABLE}, which names {}", path.display()),
            None => format!(
                "or name its file or folder in {VARIABLE}; searched: the system's libraries, LD_LIBRARY_PATH, \
                 CUDA_HOME, CUDA_PATH, /usr/local/cuda*, CONDA_PREFIX and Python's packages"
            ),
        }
    }
}

/// The newest NVRTC in a folder.
fn library(folder: &Path) -> Option<PathBuf> {
    let version = |p: &PathBuf| {
        let name = p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.strip_prefix(LIBRARY).is_some_and(|v| v.is_empty() || v.starts_with('.'))
    };
    matching(folder, LIBRARY).into_iter().find(version)
}

/// The folders above the `bin` of a Python, as it is called and as it is installed.
fn pythons(bin: &Path) -> Vec<PathBuf> {
    let python = bin.join("python3");
    let real = python.canonicalize().ok();
    let Some(installed) = real.as_deref().and_then(Path::parent) else { return Vec::new() };
    [bin, installed].into_iter().filter_map(Path::parent).map(Path::to_path_buf).collect()
}

/// Folders of NVIDIA's packages below the packages of a Python.
fn wheels(prefix: &Path) -> Vec<PathBuf> {
    let pythons = matching(&prefix.join("lib"), "python3").into_iter();
    let packages = pythons.flat_map(|lib| [lib.join("site-packages"), lib.join("dist-packages")]);
    let vendors = packages.flat_map(|packages| matching(&packages.join("nvidia"), ""));
    vendors.map(|package| package.join("lib")).collect()
}

/// Files of a folder whose names begin so, the newest version first.
fn matching(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    // A folder that cannot be read holds nothing for us.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.retain(|name| name.starts_with(prefix));
    names.sort_by_cached_key(|name| std::cmp::Reverse((numbers(name), name.clone())));
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// `libnvrtc.so.12.4` is 12, 4; missing ones are older.
fn numbers(name: &str) -> Vec<u64> {
    let digits = name.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    digits.filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files in a new folder, and what is found below it with these variables; `~` is the folder.
    fn found(files: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let here = root.path().to_str().unwrap();
        let variable = |name: &str| {
            let value = variables.iter().find(|(n, _)| *n == name)?.1;
            Some(OsString::from(value.replace('~', here)))
        };
        let all = Search::of(&variable, root.path()).candidates;
        all.iter().map(|p| p.to_str().unwrap().replace(here, "~")).collect()
    }

    #[test]
    fn without_anything_the_loader_is_asked() {
        assert_eq!(found(&[], &[]), ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]);
    }

    #[test]
    fn the_newest_of_a_folder_and_every_place_in_order() {
        let files = [
            "usr/local/cuda-12.4/lib64/libnvrtc.so.12",
            "usr/local/cuda-13.0/lib64/libnvrtc.so",
            "usr/local/cuda-13.0/lib64/libnvrtc.so.13.0.48",
            "usr/local/cuda-13.0/lib64/libnvrtc.alt.so.13",
            "usr/local/cuda-13.0/lib64/libnvrtc-builtins.so.13.0",
            "home/.local/lib/python3.9/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            "home/.local/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
            "home/.pyenv/versions/3.11.2/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
            "venv/bin/python3",
            "venv/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
            "own/lib64/libnvrtc.so.12",
            "usr/lib/python3/dist-packages/nvidia/cu13/lib/libnvrtc.so.13",
        ];
        let variables = [("HOME", "~/home"), ("CUDA_HOME", "~/own"), ("PATH", "~/nowhere:~/venv/bin")];
        let expected = [
            "~/own/lib64/libnvrtc.so.12",
            "~/usr/local/cuda-13.0/lib64/libnvrtc.so.13.0.48",
            "~/usr/local/cuda-12.4/lib64/libnvrtc.so.12",
            "~/venv/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
            "~/home/.local/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
            "~/home/.local/lib/python3.9/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            "~/home/.pyenv/versions/3.11.2/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
            "~/usr/lib/python3/dist-packages/nvidia/cu13/lib/libnvrtc.so.13",
        ];
        assert_eq!(found(&files, &variables)[3..], expected);
    }

    #[test]
    fn the_variable_is_the_only_one() {
        let files =
            ["a/libnvrtc.so.12", "a/libnvrtc.so.13", "usr/local/cuda/lib64/libnvrtc.so.13", "b/other"];
        let with = |value| found(&files, &[("QWENC_NVRTC", value)]);
        assert_eq!(with("~/a"), ["~/a/libnvrtc.so.13"]);
        assert_eq!(with("~/a/libnvrtc.so.12"), ["~/a/libnvrtc.so.12"]);
        assert_eq!(with("~/b"), [""; 0]);
        assert_eq!(with("libnvrtc.so.12"), ["./libnvrtc.so.12"]);
        assert_eq!(with("").len(), 4);
    }
}
