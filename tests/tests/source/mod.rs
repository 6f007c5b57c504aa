//! As much of Rust's grammar as it takes to look for names in code, not in comments, strings or unit tests.

/// `text` without comments, without what stands in string literals, and without the unit tests at its end.
/// Lines stay where they are.
pub(crate) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skip = if rest.starts_with("#[cfg(test)]\nmod ") {
            // A module in a file of its own ends right there; one with a body is the last of its file.
            rest.find([';', '{']).filter(|end| rest[*end..].starts_with(';')).unwrap_or(rest.len())
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("r#\"") {
            rest.find("\"#").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            string(rest)
        } else {
            0
        };
        if skip == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..skip].chars().filter(|c| *c == '\n'));
            rest = &rest[skip..];
        }
    }
    code
}

/// How long the string literal is that `text` begins with, quotes included.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether `line` names `word`, and not just a longer one that contains it.
pub(crate) fn names(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let ends_in_name = word.ends_with(part_of_name);
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let begins = word.starts_with(|c: char| !part_of_name(c)) || !before.is_some_and(part_of_name);
        begins && !(ends_in_name && after.is_some_and(part_of_name))
    })
}

#[test]
fn only_code_is_left_and_lines_keep_their_numbers() {
    let text = "a(\"x // \\\" y\"); // c\n/* d\n e */ f('\"', r#\"g \" h\"#) // i\nj\n#[cfg(test)]\nmod tests {\nk\n}";
    assert_eq!(code_only(text), "a(); \n\n f(, ) \nj\n\n\n\n");
}

#[test]
fn a_test_module_in_a_file_of_its_own_hides_nothing_else() {
    assert_eq!(code_only("#[cfg(test)]\nmod tests;\nuse x;"), "\n;\nuse x;");
}

#[test]
fn a_longer_name_is_another_name() {
    assert!(names("use russh::client;", "russh"));
    assert!(!names("use russh_keys::x;", "russh"));
    assert!(!names("let crush = 1;", "rush"));
    assert!(names("x = Instant::now();", "Instant::now"));
    assert!(!names("eprintln!()", "println!"));
}
