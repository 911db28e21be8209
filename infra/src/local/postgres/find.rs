//! Finds PostgreSQL's programs on this machine.
//!
//! Owns where to look and in which order; runs nothing but `postgres --version`, and installs nothing.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The programs a folder must hold to be of use.
const PROGRAMS: [&str; 3] = ["postgres", "initdb", "pg_ctl"];
/// Folders with one folder per version, and what stands between that and the programs.
const VERSIONED: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// A folder that holds all the programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    dir: PathBuf,
}

impl Binaries {
    /// The programs in `dir`, when they are all there.
    pub(super) fn in_dir(dir: &Path) -> Option<Self> {
        PROGRAMS.iter().all(|program| dir.join(program).is_file()).then(|| Self { dir: dir.to_owned() })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Every PostgreSQL on this machine, the one to prefer first.
pub(super) fn installed(path: Option<OsString>) -> Vec<Binaries> {
    let mut found: Vec<Binaries> = Vec::new();
    let versioned =
        VERSIONED.iter().flat_map(|(root, prefix, below)| versions(Path::new(root), prefix, below));
    for dir in on_path(path).into_iter().chain(versioned) {
        if let Some(binaries) = Binaries::in_dir(&dir)
            && !found.contains(&binaries)
        {
            found.push(binaries);
        }
    }
    found
}

/// The folders behind `postgres` on PATH. What stands there is often one link into the folder that has
/// the other programs too, so links are followed to their end.
fn on_path(path: Option<OsString>) -> Vec<PathBuf> {
    let path = path.unwrap_or_default();
    let real = |dir: PathBuf| -> Option<PathBuf> {
        PROGRAMS.iter().find_map(|program| Some(dir.join(program).canonicalize().ok()?.parent()?.to_owned()))
    };
    std::env::split_paths(&path).filter_map(real).collect()
}

/// `root/<prefix><version>/below`, the highest version first.
fn versions(root: &Path, prefix: &str, below: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let rest = name.to_str()?.strip_prefix(prefix)?;
            let digits: String =
                rest.trim_start_matches('@').chars().take_while(char::is_ascii_digit).collect();
            // A name without a version (`postgresql`, `latest`) comes last: it is often a link to another.
            Some((digits.parse().unwrap_or(0), entry.path().join(below)))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// The major version in what `postgres --version` says, such as `postgres (PostgreSQL) 16.14 (Debian)`.
pub(super) fn major(said: &str) -> Option<String> {
    let version = said.split(')').nth(1)?.split_whitespace().next()?;
    let major: String = version.chars().take_while(char::is_ascii_digit).collect();
    (!major.is_empty()).then_some(major)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(dir: &Path) {
        fs::create_dir_all(dir).expect("a folder");
        for program in PROGRAMS {
            fs::write(dir.join(program), "").expect("a file");
        }
    }

    #[test]
    fn a_link_on_path_leads_to_the_folder_behind_it() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let (real, links) = (root.path().join("lib/15/bin"), root.path().join("bin"));
        install(&real);
        fs::create_dir(&links).expect("a folder");
        std::os::unix::fs::symlink(real.join("postgres"), links.join("postgres")).expect("a link");
        let found = installed(Some(links.into_os_string()));
        assert_eq!(found[0].dir(), real.canonicalize().expect("it exists"));
    }

    #[test]
    fn the_highest_version_comes_first_by_number() {
        let root = tempfile::tempdir().expect("a temporary folder");
        for version in ["postgresql@9", "postgresql@16", "postgresql", "other@99"] {
            install(&root.path().join(version).join("bin"));
        }
        let names: Vec<_> = versions(root.path(), "postgresql", "bin");
        let expected =
            ["postgresql@16", "postgresql@9", "postgresql"].map(|v| root.path().join(v).join("bin"));
        assert_eq!(names, expected);
    }

    #[test]
    fn the_major_version_is_read_from_every_form() {
        assert_eq!(major("postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)").as_deref(), Some("15"));
        assert_eq!(major("postgres (PostgreSQL) 17beta1").as_deref(), Some("17"));
        assert_eq!(major("something else"), None);
    }
}
