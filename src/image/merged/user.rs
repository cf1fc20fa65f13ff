//! Users: what `User` of a config or `-u` means in an image.
//!
//! Separate because the rule is Docker's, down to its corners: names before numbers, a number needs no entry, an
//! explicit group switches the supplementary ones off. The image's own files are read, never the host's.

use std::path::PathBuf;

use super::MergedView;
use crate::error::{Error, Result};

/// The largest file of users or groups that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Whom the workload runs as.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct User {
    /// The user ID.
    pub uid: u32,
    /// The group ID.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// The home directory, `/` if the image does not say.
    pub home: PathBuf,
    /// The login name, if the image has one.
    pub name: Option<String>,
}

/// A line of /etc/passwd.
struct Passwd {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// A line of /etc/group.
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Finds out what `user`, `uid`, `user:group`, `uid:gid` or a mixture means; empty is the superuser.
pub fn resolve(spec: &str, view: &MergedView) -> Result<User> {
    let (user_text, group_text) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (spec, None),
    };
    let user_number = number(user_text, spec)?;
    let group_number = group_text.map(|group| number(group, spec)).transpose()?.flatten();
    let mut user = find_user(user_text, user_number, view)?;
    let groups = read_groups(view)?;
    match group_text {
        Some(text) => user.gid = find_group(text, group_number, &groups)?,
        None => user.groups = supplementary(&user, &groups),
    }
    Ok(user)
}

/// A number that is an ID, `None` for a name. What looks like a number but cannot be an ID is refused: wrapped
/// around, 4294967296 would be the superuser (CVE-2024-40635), and the kernel takes 4294967295, that is -1, for
/// "leave as it is".
fn number(text: &str, spec: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id != u32::MAX && digits.len() == text.len() => Ok(Some(id)),
        _ => {
            Err(Error::new(format!("user {spec:?} is refused"))
                .rule("an ID is a number from 0 to 4294967294"))
        }
    }
}

/// Finds the user in the image.
fn find_user(text: &str, number: Option<u32>, view: &MergedView) -> Result<User> {
    let wanted = if text.is_empty() { Some(0) } else { number };
    let passwd = read_passwd(view)?;
    let found =
        passwd.iter().find(|entry| !text.is_empty() && entry.name == text || wanted == Some(entry.uid));
    match (found, wanted) {
        (Some(entry), _) => {
            let home = if entry.home.is_empty() { "/" } else { &entry.home };
            let name = Some(entry.name.clone());
            Ok(User { uid: entry.uid, gid: entry.gid, groups: Vec::new(), home: home.into(), name })
        }
        (None, Some(uid)) => Ok(User { uid, gid: 0, groups: Vec::new(), home: "/".into(), name: None }),
        (None, None) => Err(Error::new(format!("user {text:?} is unknown"))
            .rule("a name is looked up in /etc/passwd of the image, and it is not there")
            .remedy("give a number, which needs no entry")),
    }
}

/// Finds the group in the image.
fn find_group(text: &str, number: Option<u32>, groups: &[Group]) -> Result<u32> {
    let found = groups.iter().find(|group| group.name == text || number == Some(group.gid));
    found.map(|group| group.gid).or(number).ok_or_else(|| {
        Error::new(format!("group {text:?} is unknown"))
            .rule("a name is looked up in /etc/group of the image, and it is not there")
            .remedy("give a number, which needs no entry")
    })
}

/// The groups that list a user as a member.
fn supplementary(user: &User, groups: &[Group]) -> Vec<u32> {
    let Some(name) = &user.name else { return Vec::new() };
    let mut found: Vec<u32> =
        groups.iter().filter(|group| group.members.contains(name)).map(|group| group.gid).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The lines of a file of the image, each split at its colons. Lines that are not text are skipped.
fn lines(view: &MergedView, path: &str) -> Result<Vec<Vec<String>>> {
    let bytes = view.read(path, MAX_BYTES)?.unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let lines = lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(|line| line.split(':').map(str::to_owned).collect()).collect())
}

/// Reads /etc/passwd. A line whose IDs are no IDs is skipped: taken for 0 it would make a superuser.
fn read_passwd(view: &MergedView) -> Result<Vec<Passwd>> {
    let entry = |fields: Vec<String>| {
        let [name, _, uid, gid, rest @ ..] = &fields[..] else { return None };
        let home = rest.get(1).cloned().unwrap_or_default();
        Some(Passwd { name: name.clone(), uid: id(uid)?, gid: id(gid)?, home })
    };
    Ok(lines(view, "/etc/passwd")?.into_iter().filter_map(entry).collect())
}

/// Reads /etc/group.
fn read_groups(view: &MergedView) -> Result<Vec<Group>> {
    let entry = |fields: Vec<String>| {
        let [name, _, gid, rest @ ..] = &fields[..] else { return None };
        let members = rest.first().map(|list| list.split(',').map(|name| name.trim().to_owned()).collect());
        Some(Group { name: name.clone(), gid: id(gid)?, members: members.unwrap_or_default() })
    };
    Ok(lines(view, "/etc/group")?.into_iter().filter_map(entry).collect())
}

/// An ID of a line.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::merged::tests::layers;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbad:x:-1:0::/:\nworse:x:nine:0::/:\n\
        www-data:x:33:33:www:/var/www:/bin/false\n1000:x:7:7::/seven:\nhomeless:x:44:44\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:syslog,www-data\nweb:x:90:www-data\nshort:x:91\n";

    fn user(spec: &str) -> Result<User> {
        let (_dir, view) = layers(&[&[("etc/passwd", PASSWD), ("etc/group", GROUP)]]);
        resolve(spec, &view)
    }

    fn ids(spec: &str) -> (u32, u32, Vec<u32>) {
        let user = user(spec).unwrap();
        (user.uid, user.gid, user.groups)
    }

    #[test]
    fn users_are_what_docker_makes_of_them() {
        assert_eq!(ids(""), (0, 0, vec![]));
        assert_eq!(ids("www-data"), (33, 33, vec![4, 90]));
        assert_eq!(ids("33"), (33, 33, vec![4, 90]));
        assert_eq!(ids("www-data:adm"), (33, 4, vec![]));
        assert_eq!(ids("2000"), (2000, 0, vec![]));
        assert_eq!(ids("2000:50"), (2000, 50, vec![]));
        assert_eq!(ids("1000"), (7, 7, vec![]), "a name that is a number is a name first");
        assert_eq!(ids(":90"), (0, 90, vec![]));
        assert_eq!(user("homeless").unwrap().home, PathBuf::from("/"));
        assert_eq!(user("www-data").unwrap().home, PathBuf::from("/var/www"));
    }

    #[test]
    fn what_is_unknown_or_no_id_is_refused() {
        for bad in [
            "nobody",
            "www-data:none",
            "-1",
            "4294967295",
            "4294967296",
            "99999999999999999999",
            "0:-1",
            "+1",
            "bad",
            "worse",
            "a:b:c",
        ] {
            assert!(user(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_image_without_users_still_has_numbers() {
        let (_dir, view) = layers(&[&[("x", "")]]);
        assert_eq!(resolve("", &view).unwrap().home, PathBuf::from("/"));
        assert!(resolve("root", &view).is_err());
    }

    #[test]
    fn the_files_of_the_host_are_never_read() {
        let (_dir, view) = layers(&[&[
            ("etc/passwd", "-> /../../../../../../../etc/passwd"),
            ("etc/group", "-> /dev/zero"),
        ]]);
        assert!(resolve("root", &view).is_err());
    }
}
