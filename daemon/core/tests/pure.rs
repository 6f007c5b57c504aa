//! Core depends on nothing: that is what makes its machines testable in every order of events. And the model
//! that they are compared with is simple.

#[test]
fn core_depends_on_no_other_crate() {
    let manifest = include_str!("../Cargo.toml");
    let mut section = "";
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            section = line;
        }
        let dependency = section.contains("dependencies") && !section.contains("dev-dependencies");
        let heading = line == "[dependencies]";
        assert!(!dependency || heading, "core depends on something: {section} {line}");
    }
}

#[test]
fn the_reference_model_stays_small_enough_to_be_believed() {
    let model = include_str!("model/mod.rs").lines().map(str::trim);
    let lines = model.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
    // It was under 150 when a tunnel had one session at a time, under 250 before somebody could be asked and a server
    // could listen, and under 310 before one answer helped those, too, whose session does not answer.
    assert!(lines < 320, "the reference model has {lines} lines");
}

#[test]
fn core_reads_no_clock_and_does_no_io() {
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut dirs = vec![sources];
    let mut files = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            for impure in [
                "std::fs",
                "std::net",
                "std::thread",
                "std::env",
                "std::process",
                "std::io",
                "Instant",
                "SystemTime",
                "RandomState",
                "HashMap",
                "HashSet",
                "async fn",
            ] {
                assert!(!text.contains(impure), "{} names {impure}", path.display());
            }
        }
    }
    assert!(files > 10, "only {files} files were looked at");
}
