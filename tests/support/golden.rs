//! Outputs kept in `tests/offline/golden/`; `UPDATE_GOLDEN=1` rewrites them, and the diff is reviewed like code.

use std::{fs, path::Path};

/// Compares with the golden file of this name, or rewrites it.
#[track_caller]
pub fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/offline/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} is not what was said (UPDATE_GOLDEN=1 rewrites it); {}\n--- said\n{actual}",
        path.display(),
        first_difference(&expected, actual)
    );
}

/// Names the first line that differs.
fn first_difference(expected: &str, actual: &str) -> String {
    let (mut expected, mut actual) = (expected.lines(), actual.lines());
    for number in 1.. {
        match (expected.next(), actual.next()) {
            (None, None) => break,
            (one, other) if one == other => {}
            (one, other) => {
                let shown =
                    |line: Option<&str>| line.map_or("the end".to_owned(), |line| format!("{line:?}"));
                return format!("line {number}: {} became {}", shown(one), shown(other));
            }
        }
    }
    "only the final line feed differs".to_owned()
}
