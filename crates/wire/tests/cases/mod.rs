//! Finds the project's conformance cases, which lie beside the working tree and not in it.

/// The text of a case file; says on standard output what is left out when the cases are not there.
pub(crate) fn read(file: &str) -> Option<String> {
    let here = std::env::current_dir().expect("tests run in the folder of their crate");
    let folders = here.ancestors();
    let found = folders.map(|f| f.join("shared/conformance/open").join(file)).find(|p| p.is_file());
    if found.is_none() {
        println!("left out: shared/conformance/open/{file} is not beside this working tree");
    }
    found.map(|path| std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}
