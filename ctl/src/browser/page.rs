//! A file of this user alone that leads a browser on to the one-time address. It stands in the browser's command line
//! where that address must not: others may read the line, and not the file. It is removed when it is dropped.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

/// The file, for as long as it is wanted. What is left behind by a program that was killed leads nowhere any more.
#[derive(Debug)]
pub(super) struct Page(NamedTempFile);

impl Page {
    /// One in `dir`, which is the user's alone, that leads to `address`: a URL that needs no quoting in HTML.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn new(dir: &Path, address: &str) -> io::Result<Page> {
        // Made anew under a name that nobody knows, and on Unix for nobody else (mode 0600).
        let mut file = Builder::new().prefix("open-").rand_bytes(16).suffix(".html").tempfile_in(dir)?;
        write!(
            file,
            "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
             <meta http-equiv=\"refresh\" content=\"0;url={address}\">\n<title>nbtunnel</title>\n\
             <p><a href=\"{address}\">To the notebook</a></p>\n"
        )?;
        file.flush()?;
        Ok(Page(file))
    }

    /// What the browser is to be given.
    pub(super) fn url(&self) -> String {
        let mut url = "file://".to_owned();
        for byte in self.0.path().as_os_str().as_encoded_bytes() {
            if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
                url.push(char::from(*byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(url, "%{byte:02X}");
            }
        }
        url
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_this_user_can_read_it_and_it_goes_when_nobody_needs_it() {
        let dir = Builder::new().prefix("a b%ü").tempdir().unwrap();
        let page = Page::new(dir.path(), "http://127.0.0.1:1/secret").unwrap();
        let path = page.0.path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("content=\"0;url=http://127.0.0.1:1/secret\""), "{text}");
        let url = page.url();
        assert!(url.starts_with("file:///") && url.contains("/a%20b%25%C3%BC"), "{url}");
        assert!(url.ends_with(path.file_name().unwrap().to_str().unwrap()), "{url}");
        drop(page);
        assert!(!path.exists());
    }
}
