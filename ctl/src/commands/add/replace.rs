//! `nbctl add --replace`: the file that is there, with what the new command line says of the way and of where it leads.
//! Whatever else the user wrote stays, with his comments.

use std::path::Path;
use std::{fs, io};

use toml_edit::{DocumentMut, Item, TableLike};

use crate::exit::{CommandError, Exit};
use crate::tunnel_file;

/// What only a command line says: where the new one does not, it is so no more.
const WAY: [&str; 8] =
    ["user", "port", "jump", "identity_file", "host_key", "known_hosts", "ssh_config", "options"];

/// What leads somewhere: where the new command line leads nowhere, it leads where the old one did.
const LEADS: [&str; 3] = ["forward", "remote", "dynamic"];

/// Where a notebook is.
const PLACE: [&str; 5] = ["remote_port", "find", "host", "token", "scheme"];

/// The file that is there, with what the new one says; the new one where there is none.
pub(super) fn text(config_dir: &Path, name: &str, text: String) -> Result<String, CommandError> {
    let place = tunnel_file::path_of(config_dir, name);
    let before = match fs::read_to_string(&place) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(text),
        Err(error) => return Err(CommandError::file("read", &place, &error)),
    };
    merged(&before, &text).map_err(|_| {
        let hint = format!("mend it with `nbctl edit {name}`, or remove it with `nbctl rm {name}`");
        CommandError::new(Exit::Failed, format!("what stands in {} is no TOML", place.display()), hint)
    })
}

/// `before` with what `new` says; both are tunnel files.
///
/// # Errors
/// `before` is no TOML.
fn merged(before: &str, new: &str) -> Result<String, toml_edit::TomlError> {
    let (mut kept, mut new) = (before.parse::<DocumentMut>()?, new.parse::<DocumentMut>()?);
    let notebook = new.remove("notebook");
    let forwards = LEADS.iter().any(|key| new.contains_key(key));
    let gone = WAY.iter().chain(LEADS.iter().filter(|_| forwards));
    for key in gone.filter(|key| !new.contains_key(key)) {
        kept.remove(key);
    }
    for (key, item) in new.iter() {
        set(kept.as_table_mut(), key, item);
    }
    if let Some(notebook) = notebook {
        lead_to(&mut kept, notebook);
    }
    Ok(kept.to_string())
}

/// The notebook of the new command line becomes the only one that is there, or one more; one that is only to be found
/// needs no telling where the file leads somewhere already.
fn lead_to(kept: &mut DocumentMut, notebook: Item) {
    let leads_somewhere = kept.contains_key("notebook") || LEADS.iter().any(|key| kept.contains_key(key));
    let Some((name, section)) = notebook.as_table_like().and_then(|all| all.iter().next()) else { return };
    if leads_somewhere && section.get("remote_port").is_none() {
        return;
    }
    let Some(all) = kept.get_mut("notebook").and_then(Item::as_table_like_mut) else {
        kept["notebook"] = notebook;
        return;
    };
    let only = (all.len() == 1).then(|| all.iter().next().map(|(name, _)| name.to_owned())).flatten();
    match all.get_mut(&only.unwrap_or_else(|| name.to_owned())).and_then(Item::as_table_like_mut) {
        Some(there) => {
            for key in PLACE.iter().filter(|key| section.get(**key).is_none()) {
                there.remove(key);
            }
            for (key, item) in section.as_table_like().into_iter().flat_map(TableLike::iter) {
                set(there, key, item);
            }
        }
        None => {
            all.insert(name, section.clone());
        }
    }
}

/// Sets it where it stands, with the comments around it.
fn set(table: &mut dyn TableLike, key: &str, item: &Item) {
    let mut item = item.clone();
    let Some(before) = table.get_mut(key) else {
        table.insert(key, item);
        return;
    };
    if let (Some(before), Some(now)) = (before.as_value(), item.as_value_mut()) {
        *now.decor_mut() = before.decor().clone();
    }
    *before = item;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(before: &str, new: &str) -> String {
        merged(before, new).unwrap()
    }

    const NEW: &str = "host = \"h\"\nuser = \"me\"\nport = 2300\n\n[notebook.gpu]\nfind = \"auto\"\n";

    #[test]
    fn what_the_user_wrote_stays() {
        let before = "# mine\nhost = \"h\" # as on the page\nuser = \"me\"\nport = 2200\nhold = \"10s\"\n\n\
                      # Her own.\n[notebook.alice]\nfind = \"~/x\"\nstart = \"jupyter lab\"\nlocal_port = 6123\n";
        assert_eq!(put(before, NEW), before.replace("2200", "2300"));
        let forwards = "host = \"h\"\nport = 2200\nuser = \"me\"\nforward = [\"6000:localhost:7000\"]\n";
        assert_eq!(put(forwards, NEW), forwards.replace("2200", "2300"));
    }

    #[test]
    fn what_the_new_line_does_not_say_of_the_way_is_so_no_more() {
        let before =
            "host = \"old\"\njump = [\"a\"]\nforward = [\"1:h:2\"]\ndynamic = [\"3\"]\nhold = \"1s\"\n";
        let new = "host = \"h\"\nforward = [\"4:h:5\"]\n";
        assert_eq!(put(before, new), "host = \"h\"\nforward = [\"4:h:5\"]\nhold = \"1s\"\n");
        let table = "[notebook.gpu]\nfind = \"auto\"\n";
        assert!(put("host = \"h\"\n", NEW).ends_with(table), "{}", put("host = \"h\"\n", NEW));
    }

    #[test]
    fn a_new_address_is_that_of_the_notebook_which_is_there() {
        let new = "host = \"h\"\n\n[notebook.h]\nremote_port = 8889\ntoken = \"new\"\n";
        let one =
            "host = \"h\"\n\n[notebook.alice]\nremote_port = 8888\ntoken = \"old\"\nlocal_port = 6123\n";
        assert_eq!(put(one, new), one.replace("8888", "8889").replace("old", "new"));
        let found = "host = \"h\"\n\n[notebook.alice]\nfind = \"auto\"\nstart = \"x\"\n";
        let expected =
            "host = \"h\"\n\n[notebook.alice]\nstart = \"x\"\nremote_port = 8889\ntoken = \"new\"\n";
        assert_eq!(put(found, new), expected);
        let two = format!("{one}[notebook.bob]\nfind = \"auto\"\n");
        let three = put(&two, new);
        for section in [&one[11..], "[notebook.bob]\nfind = \"auto\"\n", "[notebook.h]\nremote_port = 8889\n"]
        {
            assert!(three.contains(section), "{three}");
        }
        assert!(merged("host = ", new).is_err());
    }
}
