use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const URL: &str = "http://localhost:1/?token=secret";
const SOON: Duration = Duration::from_secs(20);

/// A browser that writes down what it was given and what stands in that file, into `dir`.
fn that_writes(dir: &Path) -> Browser {
    let dir = dir.display();
    let script =
        format!("echo \"$0\" >{dir}/called; cat \"${{0#file://}}\" >{dir}/part; mv {dir}/part {dir}/page");
    Browser { commands: vec![vec!["sh".to_owned(), "-c".to_owned(), script]] }
}

/// What a file says, once it is there.
async fn written(dir: &Path, name: &str) -> String {
    loop {
        match std::fs::read_to_string(dir.join(name)) {
            Ok(text) if !text.is_empty() => return text,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn files_of(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(usize::MAX, Iterator::count)
}

#[tokio::test]
async fn where_others_could_come_by_the_address_only_a_file_of_ours_tells_it() {
    let (own, written_to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let browser = that_writes(written_to.path());
    let open = open_within(SOON, Way::Page, &browser, URL, "alice", own.path());
    let visit = async {
        let page = written(written_to.path(), "page").await;
        let address = page.split("url=").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let (at, path) = address.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(format!("GET /{path} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (path.to_owned(), answer)
    };
    let visit = async { tokio::time::timeout(SOON, visit).await.unwrap() };
    let (opened, (path, answer)) = tokio::join!(open, visit);
    opened.unwrap();
    assert!(answer.contains(&format!("\r\nLocation: {URL}\r\n")), "{answer}");
    let called = written(written_to.path(), "called").await;
    assert!(called.starts_with("file:///") && !called.contains(&path), "{called} tells {path}");
    assert_eq!(files_of(own.path()), 0, "the file is left behind");
}

#[tokio::test]
async fn a_browser_that_never_comes_is_not_waited_for_for_ever() {
    for way in [Way::Address, Way::Page] {
        let own = TempDir::new().unwrap();
        let browser = Browser { commands: listed("true") };
        let open = open_within(Duration::from_millis(300), way, &browser, URL, "alice", own.path());
        let error = open.await.unwrap_err();
        assert_eq!(error.exit, Exit::Failed);
        assert!(error.message.contains("no browser came within"), "{}", error.message);
        assert_eq!(files_of(own.path()), 0, "the file is left behind");
    }
}

#[test]
fn the_address_stands_in_a_command_line_only_where_that_harms_nobody() {
    assert_eq!(Way::safe(true, false), Way::Address, "whoever comes is asked, as on Linux");
    assert_eq!(Way::safe(false, true), Way::Address, "nobody reads it, as on Windows");
    assert_eq!(Way::safe(false, false), Way::Page, "as on macOS");
    assert_eq!(Way::here() == Way::Page, cfg!(all(unix, not(target_os = "linux"))));
}

#[test]
fn the_variable_is_read_by_its_convention() {
    let shown = |value: &str| -> Vec<String> {
        listed(value).iter().map(|words| filled_in(words, "http://x/?a&b").join("|")).collect()
    };
    assert_eq!(shown("firefox"), ["firefox|http://x/?a&b"]);
    assert_eq!(shown("a b:'c d' --url=%s -n"), ["a|b|http://x/?a&b", "c d|--url=http://x/?a&b|-n"]);
    assert_eq!(shown("::'unclosed"), [""; 0]);
    assert_eq!(shown("sh;rm $(x)"), ["sh;rm|$(x)|http://x/?a&b"], "nothing in it is a shell's");
}
