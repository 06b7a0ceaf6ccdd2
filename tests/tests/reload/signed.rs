//! Nodes that take signed libraries only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gantry_tests::{Node, NodeOptions};

use super::{deploy, numbers, plugin};

/// A key in a file of the node's folder, with its public half.
#[track_caller]
fn key(node: &Node, name: &str) -> (PathBuf, String) {
    let file = node.folder().join(name);
    let told = node.gantry(&["key", "new", &file.to_string_lossy(), "--json"]).expect_code(0).json();
    (file, told["public"].as_str().expect("a public key").to_owned())
}

#[track_caller]
fn sign(node: &Node, key: &Path, library: &Path) {
    node.gantry(&["key", "sign", &key.to_string_lossy(), &library.to_string_lossy()]).expect_code(0);
}

#[test]
fn only_what_a_named_signer_signed_is_deployed() {
    let options = || NodeOptions::small().set("service.libraries", "[]");
    let mut node = Node::prepare(options());
    let (own, public) = key(&node, "own.key");
    let (stranger, strange) = key(&node, "stranger.key");
    node.write_configuration(options().set("service.signers", format!("[\"{public}\"]")));
    node.run();
    let library = plugin(&node, "versioned.c", "first", &["-DVERSION=\"1.0\""]);

    let refused = |what: &str| {
        let words = deploy(&node, &library).expect_code(1).stderr;
        assert!(words.contains(what), "{words}");
        assert!(numbers(&node).is_empty());
    };
    refused("is not signed");
    sign(&node, &stranger, &library);
    refused(&strange);
    let signature = library.with_extension("so.sig");
    fs::write(&signature, "trust me\n").expect("a file can be written");
    refused("no signature");

    sign(&node, &own, &library);
    let other = plugin(&node, "versioned.c", "second", &["-DVERSION=\"2.0\""]);
    fs::copy(&signature, other.with_extension("so.sig")).expect("a file can be copied");
    let words = deploy(&node, &other).expect_code(1).stderr;
    assert!(words.contains("is not of this file"), "{words}");
    deploy(&node, &library).expect_code(0);
    assert!(!numbers(&node).is_empty());

    // What was deployed serves on after a restart; the file it was made of, and its signature, may go.
    fs::remove_file(&signature).expect("it is there");
    node.gantry(&["restart"]).expect_code(0);
    assert!(!numbers(&node).is_empty());
    node.gantry(&["stop"]).expect_code(0);
}

#[test]
fn first_start_takes_no_unsigned_library_of_the_configuration() {
    let node = Node::prepare(NodeOptions::small());
    let (_, public) = key(&node, "own.key");
    node.write_configuration(NodeOptions::small().set("service.signers", format!("[\"{public}\"]")));
    let words = node.gantry(&["start"]).expect_code(1).stderr;
    assert!(words.contains("is not signed") && words.contains("gantry key sign"), "{words}");
}

#[test]
fn keys_are_made_once_and_kept_from_others() {
    let node = Node::prepare(NodeOptions::small());
    let (file, public) = key(&node, "own.key");
    let path = file.to_string_lossy().into_owned();
    assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    let again = node.gantry(&["key", "new", &path]).expect_code(1).stderr;
    assert!(again.contains("own.key"), "{again}");
    let shown = node.gantry(&["key", "show", &path, "--json"]).expect_code(0).json();
    assert_eq!(shown["public"], *public);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let open = node.gantry(&["key", "show", &path]).expect_code(1).stderr;
    assert!(open.contains("chmod 600"), "{open}");
    fs::write(&file, "x").expect("it is ours");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let none = node.gantry(&["key", "show", &path]).expect_code(1).stderr;
    assert!(none.contains("no secret key"), "{none}");
}
