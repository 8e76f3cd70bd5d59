//! Writes the manifests that are made from the types: `crdgen DIR` fills `crds/yaml`,
//! `crds/examples` and the chart's copy below the repository DIR; `crdgen DIR --check` compares.

#![expect(
    clippy::disallowed_methods,
    reason = "a generator of files of the repository; none of them is the database's"
)]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(root) = arguments.next() else {
        eprintln!("usage: crdgen REPOSITORY [--check]");
        return ExitCode::from(64);
    };
    let check = arguments.next().as_deref() == Some("--check");
    let files = match godb_crds::generated() {
        Ok(files) => files,
        Err(error) => {
            eprintln!("error: the types do not make manifests: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut differ = false;
    for (name, content) in files {
        let path = Path::new(&root).join(&name);
        let same = std::fs::read_to_string(&path).is_ok_and(|found| found == content);
        if same {
            continue;
        }
        if check {
            eprintln!("{name} is not what the types say: run `make generate`");
            differ = true;
            continue;
        }
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, content));
        if let Err(error) = written {
            eprintln!("error: cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    if differ {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
