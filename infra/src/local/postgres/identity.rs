//! Who the server runs as: PostgreSQL refuses to run as root, so root hands it to an unprivileged user.
//!
//! Owns the choice of that user, and what it takes for that user to reach a folder. Never changes who
//! *we* are.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tokio::process::Command;

use super::Error;

/// Accounts to run under when we are root, in this order.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];
/// `nobody` by convention, should the account file name neither.
const NOBODY: (u32, u32) = (65_534, 65_534);

/// The user and group the server and its tools run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// User and group to drop to; `None` when we are unprivileged ourselves.
    drop_to: Option<(u32, u32)>,
}

impl Identity {
    pub(super) fn for_server() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self { drop_to: None };
        }
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let found = ACCOUNTS.iter().find_map(|name| account(&accounts, name));
        Self { drop_to: Some(found.unwrap_or(NOBODY)) }
    }

    /// A command that runs as this user, without the `PG*` variables of whoever called us.
    pub(super) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.drop_to {
            command.uid(uid).gid(gid);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C").env("TZ", "UTC");
        command
    }

    /// Hands `path` to this user.
    pub(super) fn own(self, path: &Path) -> Result<(), Error> {
        let Some((uid, gid)) = self.drop_to else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(Error::file(path))
    }

    /// Creates `dir`, for this user alone. A folder of someone else's in its place is an error: the
    /// name may be guessed.
    pub(super) fn create_private_dir(self, dir: &Path) -> Result<(), Error> {
        fs::create_dir_all(dir).map_err(Error::file(dir))?;
        let owner = fs::symlink_metadata(dir).map_err(Error::file(dir))?;
        let own_uid = rustix::process::geteuid().as_raw();
        let server_uid = self.drop_to.map_or(own_uid, |(uid, _)| uid);
        if !owner.is_dir() || (owner.uid() != own_uid && owner.uid() != server_uid) {
            let taken = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "it belongs to another user");
            return Err(Error::file(dir)(taken));
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(Error::file(dir))?;
        self.own(dir)
    }

    /// Whether this user can pass through every folder above and including `dir`, which must exist.
    pub(super) fn can_enter(self, dir: &Path) -> bool {
        let Some((uid, gid)) = self.drop_to else { return true };
        let Ok(real) = dir.canonicalize() else { return false };
        real.ancestors().all(|folder| {
            fs::metadata(folder).is_ok_and(|found| {
                let bit = if found.uid() == uid {
                    0o100
                } else if found.gid() == gid {
                    0o010
                } else {
                    0o001
                };
                found.mode() & bit != 0
            })
        })
    }
}

/// User and group of `name` in the text of an account file.
fn account(accounts: &str, name: &str) -> Option<(u32, u32)> {
    let fields = |line: &str| -> Option<(u32, u32)> {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let (_password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((uid.parse().ok()?, gid.parse().ok()?))
    };
    accounts.lines().find_map(fields).filter(|(uid, _)| *uid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNTS_FILE: &str =
        "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\npostgres:x:0:0::/:/bin/sh\nbroken\n";

    #[test]
    fn an_account_is_read_by_name_and_root_is_never_taken() {
        assert_eq!(account(ACCOUNTS_FILE, "nobody"), Some((65_534, 65_533)));
        assert_eq!(account(ACCOUNTS_FILE, "postgres"), None, "an alias of root");
        assert_eq!(account(ACCOUNTS_FILE, "absent"), None);
    }

    #[test]
    fn a_private_folder_above_stops_another_user() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).expect("a folder in it");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("ours");
        let stranger = Identity { drop_to: Some((4_000_000, 4_000_000)) };
        assert!(!stranger.can_enter(&inner));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).expect("ours");
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).expect("ours");
        assert!(stranger.can_enter(&inner));
    }
}
