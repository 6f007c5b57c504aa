//! Where a path leads through symbolic links, so that all of the way can be watched.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// As many as Linux follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Every symbolic link on the way of `path`, and last the place where it leads, which may not exist.
/// Each is named by a path whose directories are no links themselves.
pub(super) fn trail(path: &Path) -> Vec<PathBuf> {
    let mut ahead: VecDeque<OsString> = components(path).collect();
    let mut at = PathBuf::new();
    let mut places = Vec::new();
    while let Some(part) = ahead.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(part);
        match std::fs::read_link(&next) {
            Ok(target) if places.len() < MOST_LINKS => {
                for part in components(&target).collect::<Vec<_>>().into_iter().rev() {
                    ahead.push_front(part);
                }
                places.push(next);
            }
            // What is no link, or cannot be looked at, is where it is.
            _ => at = next,
        }
    }
    places.push(at);
    places
}

/// The parts of a path; joining the root of an absolute one starts over.
fn components(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components()
        .filter(|part| !matches!(part, Component::CurDir))
        .map(|part| part.as_os_str().to_owned())
}

/// The nearest directory above `path`, or itself, that exists.
pub(super) fn nearest_dir(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|dir| dir.is_dir()).map(Path::to_owned)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_is_named_where_it_really_lies() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("v1/sub")).unwrap();
        symlink("v1", root.join("current")).unwrap();
        symlink("../current/sub/b", root.join("v1/a")).unwrap();
        symlink(root.join("gone"), root.join("v1/sub/b")).unwrap();
        assert_eq!(
            trail(&root.join("./current/a")),
            [
                root.join("current"),
                root.join("v1/a"),
                root.join("current"),
                root.join("v1/sub/b"),
                root.join("gone")
            ]
        );
        assert_eq!(nearest_dir(&root.join("gone/deeper")), Some(root));
    }

    #[test]
    fn a_loop_of_links_comes_to_an_end() {
        let temp = tempfile::tempdir().unwrap();
        symlink("b", temp.path().join("a")).unwrap();
        symlink("a", temp.path().join("b")).unwrap();
        assert!(trail(&temp.path().join("a")).len() <= MOST_LINKS + 1);
    }
}
