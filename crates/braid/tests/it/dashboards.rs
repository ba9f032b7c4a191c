//! Dashboards out of a directory.

use crate::braid::Braid;
use crate::client::post;

#[test]
fn dashboards_come_from_a_directory_and_change_with_a_reload() {
    let dir = tempfile::tempdir().expect("a directory");
    let boards = dir.path().join("boards");
    std::fs::create_dir(&boards).expect("a directory");
    std::fs::write(boards.join("shop.json"), r#"{"uid":"shop","title":"Shop","panels":[]}"#).expect("written");
    let config = dir.path().join("braid.yaml");
    std::fs::write(&config, "dashboards: {directory: boards}\n").expect("written");
    let braid = Braid::start_with(dir.path(), &["--config", config.to_str().expect("UTF-8")]);
    let list = |braid: &Braid| braid.get("braid", "/api/dashboards").expect(200).json();
    let shop = serde_json::json!({"id": "shop", "title": "Shop", "description": "", "folder": ""});
    assert_eq!(list(&braid), serde_json::json!({"dashboards": [shop], "errors": []}));
    assert_eq!(braid.get("braid", "/api/dashboards/shop").expect(200).json()["uid"], "shop");
    assert!(braid.get("braid", "/api/dashboards/none").expect(404).text().contains("no dashboard \"none\" is provisioned"));

    std::fs::remove_file(boards.join("shop.json")).expect("removed");
    std::fs::write(boards.join("bad.json"), "{").expect("written");
    assert_eq!(post(braid.at("braid"), "/-/reload", &[], b"").status, 200);
    let now = list(&braid);
    assert_eq!(now["dashboards"], serde_json::json!([]));
    assert!(now["errors"][0]["file"].as_str().is_some_and(|f| f.ends_with("/boards/bad.json")), "{now}");
    assert_eq!((braid.metric("braid_dashboards"), braid.metric("braid_dashboards_failed")), (0.0, 1.0));
    assert!(braid.log().contains("bad.json: it is not JSON"), "{}", braid.log());
}
