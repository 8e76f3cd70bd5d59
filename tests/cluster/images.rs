//! The image archives: what is inside, who runs it, and that the Dockerfile says the same.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::kube::{succeeded, word};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where `make image` put them; the script that runs these tests says so.
fn archive(name: &str) -> String {
    let folder =
        std::env::var("GODB_IMAGES").expect("GODB_IMAGES names the folder of the archives");
    format!("{folder}/{name}.tar")
}

/// A file of an archive.
fn member(archive: &str, path: &str) -> String {
    succeeded("tar", &["-xOf", archive, path], "")
}

fn json(archive: &str, path: &str) -> Value {
    serde_json::from_str(&member(archive, path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The path of a blob by its digest.
fn blob(digest: &Value) -> String {
    format!("blobs/{}", word(digest).replace(':', "/"))
}

#[test]
fn each_image_holds_one_program_for_a_user_without_rights() {
    for name in ["godb", "godb-operator"] {
        let archive = archive(name);
        let manifest = json(
            &archive,
            &blob(&json(&archive, "index.json")["manifests"][0]["digest"]),
        );
        let config = json(&archive, &blob(&manifest["config"]["digest"]));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(
            config["config"]["Entrypoint"],
            serde_json::json!([format!("/{name}")])
        );

        let layers = manifest["layers"].as_array().expect("layers");
        assert_eq!(layers.len(), 1);
        let layer = blob(&layers[0]["digest"]);
        let listed = succeeded(
            "sh",
            &[
                "-c",
                "tar -xOf \"$1\" \"$2\" | tar -tvf -",
                "sh",
                &archive,
                &layer,
            ],
            "",
        );
        let files: Vec<&str> = listed.lines().collect();
        assert_eq!(files.len(), 1, "{listed}");
        assert!(
            files[0].starts_with("-rwxr-xr-x 0/0") && files[0].ends_with(&format!(" {name}")),
            "{listed}"
        );

        // The older list beside it, for `docker load`, names the same blobs.
        let older = json(&archive, "manifest.json");
        assert_eq!(
            older[0]["Config"],
            blob(&manifest["config"]["digest"]).as_str()
        );
        assert_eq!(older[0]["Layers"][0], layer.as_str());
        assert_eq!(older[0]["RepoTags"][0], format!("localhost/{name}:dev"));
        for path in [layer, blob(&manifest["config"]["digest"])] {
            let sum = succeeded(
                "sh",
                &[
                    "-c",
                    "tar -xOf \"$1\" \"$2\" | sha256sum",
                    "sh",
                    &archive,
                    &path,
                ],
                "",
            );
            assert!(
                path.ends_with(sum.split_whitespace().next().expect("a sum")),
                "{path}: {sum}"
            );
        }
    }
}

#[test]
fn the_same_program_gives_the_same_digest() {
    let folder = std::env::temp_dir().join(format!("godb-oci-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let script = root().join("scripts/oci.sh");
    let program = root().join("scripts/env.sh");
    let mut digests = Vec::new();
    for out in ["a.tar", "b.tar"] {
        let out = folder.join(out);
        let arguments = [
            "localhost/x:dev",
            out.to_str().expect("UTF-8"),
            "1:1",
            program.to_str().expect("UTF-8"),
        ];
        let digest = succeeded(script.to_str().expect("UTF-8"), &arguments, "");
        digests.push((digest, std::fs::read(&out).expect("an archive")));
    }
    std::fs::remove_dir_all(&folder).expect("removed");
    assert!(digests[0] == digests[1]);
}

/// No engine here builds it, so it is read.
#[test]
fn the_dockerfile_makes_the_same_images() {
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).expect("a Dockerfile");
    let stages: Vec<&str> = dockerfile.split("\nFROM ").skip(1).collect();
    for name in ["godb", "godb-operator"] {
        let stage = stages
            .iter()
            .find(|stage| stage.lines().next() == Some(&format!("scratch AS {name}")))
            .unwrap_or_else(|| panic!("no stage {name}"));
        let lines: Vec<&str> = stage
            .lines()
            .skip(1)
            .filter(|line| !line.is_empty())
            .collect();
        let copy = format!("COPY --from=build --chmod=0755 /target/static/{name} /{name}");
        let entry = format!("ENTRYPOINT [\"/{name}\"]");
        assert_eq!(lines, [copy.as_str(), "USER 65532:65532", entry.as_str()]);
    }
    let pinned = std::fs::read_to_string(root().join("rust-toolchain.toml")).expect("a toolchain");
    let version = pinned.split('"').nth(1).expect("a version").to_owned();
    assert!(
        dockerfile.contains(&format!("FROM rust:{}", version.trim_end_matches(".0"))),
        "{version}"
    );
}
