//! Which images an executable accepts, where it looks for them, and what it says otherwise.

#![allow(clippy::unwrap_used)]

mod mock;

use mock::{free, Executable, ROWS};
use qwenc_abi::FOOTER_BYTES;

fn executable() -> Executable {
    Executable::talking(&free(ROWS))
}

#[test]
fn an_image_may_be_embedded_beside_or_named() {
    let e = executable();
    assert!(e.run(&["verify"]).ok().starts_with("ok: "));
    std::fs::write(&e.path, [0; 5000]).unwrap();
    let said = e.run(&["verify"]).refused(1);
    assert!(said.contains("mock.weights") && said.contains("--weights"), "{said}");
    let beside = e.folder.path().join("mock.weights");
    std::fs::write(&beside, &e.image).unwrap();
    assert!(e.run(&["verify"]).ok().contains("mock.weights"));
    let other = e.folder.path().join("other");
    std::fs::rename(&beside, &other).unwrap();
    assert!(e.run(&["verify", "--weights", other.to_str().unwrap()]).ok().contains("other"));
    // What is named takes precedence over what is embedded.
    e.embed();
    std::fs::write(&other, b"junk").unwrap();
    let said = e.run(&["--weights", other.to_str().unwrap(), "verify"]).refused(1);
    assert!(said.contains("other") && said.contains("does not end with an image footer"), "{said}");
    let said = e.run(&["verify", "--weights", "/no/such"]).refused(1);
    assert!(said.contains("cannot open /no/such"), "{said}");
    e.run(&["verify", "--weights", e.folder.path().to_str().unwrap()]).refused(1);
}

#[test]
fn strangers_are_refused_by_either_hash() {
    let mut e = executable();
    e.identity.code_id[0] ^= 1;
    assert!(e.run(&["info"]).refused(1).contains("the code's SHA-256"));
    e.identity.code_id[0] ^= 1;
    e.identity.weights_id[31] ^= 1;
    assert!(e.run(&["generate", "a"]).refused(1).contains("the weights' SHA-256"));
    let mut e = executable();
    e.model.weights_bytes += 1;
    assert!(e.run(&["info"]).refused(1).contains("the size of the weights"));
    let mut e = executable();
    e.model.abi_version += 1;
    assert!(e.run(&["generate", "a"]).refused(1).contains("interface version"));
}

/// Between metadata and footer, and in the footer: no hash has these bytes.
#[test]
fn unused_bytes_are_verified_too() {
    let e = executable();
    let (path, end) = (e.folder.path().join("changed"), e.image.len());
    let named = ["verify", "--weights", path.to_str().unwrap()];
    let footer = end - FOOTER_BYTES;
    assert_eq!(e.image[footer - 1], 0, "this image has padding");
    for at in [footer - 1, footer + 12, footer + 15, footer + 136, end - 1] {
        let mut image = e.image.clone();
        image[at] = 7;
        std::fs::write(&path, image).unwrap();
        let said = e.run(&named).refused(1);
        assert!(said.contains(&format!("its byte {at}, which is unused, is 7 instead of 0")), "{said}");
    }
    std::fs::write(&path, &e.image).unwrap();
    e.run(&named).ok();
}

#[test]
fn damage_is_named() {
    let mut e = executable();
    e.image[10] ^= 1;
    e.embed();
    assert!(e.run(&["verify"]).refused(1).contains("damaged"));
    // Cut short at the end: no footer. Cut at the beginning: the footer points outside.
    let other = e.folder.path().join("cut");
    let named = ["verify", "--weights", other.to_str().unwrap()];
    std::fs::write(&other, &e.image[..e.image.len() - 1]).unwrap();
    assert!(e.run(&named).refused(1).contains("cut short"));
    std::fs::write(&other, &e.image[1..]).unwrap();
    assert!(e.run(&named).refused(1).contains("points outside"));
    std::fs::write(&other, &e.image[e.image.len() - FOOTER_BYTES..]).unwrap();
    assert!(e.run(&named).refused(1).contains("points outside"));
    std::fs::write(&other, [&[0], &e.image[..]].concat()).unwrap();
    assert!(e.run(&named).refused(1).contains("multiples of 4096"));
    let mut wrong = e.image.clone();
    let version = wrong.len() - FOOTER_BYTES + 8;
    wrong[version] = 9;
    std::fs::write(&other, &wrong).unwrap();
    assert!(e.run(&named).refused(1).contains("version 9"));
    std::fs::write(&other, b"").unwrap();
    e.run(&named).refused(1);
}
