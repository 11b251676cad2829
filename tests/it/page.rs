//! The page in a real browser: what happens appears, commands need the token, and everybody can use it.

use std::fs;
use std::process::Command;

use crate::support::chromium::{Browser, shots};
use crate::support::commands::http;
use crate::support::line::{Line, settings, write_token};
#[cfg(feature = "openvino")]
use crate::support::line::{Running, program};
use crate::support::mosquitto::{Mosquitto, Rules, free_port};
use serde_json::{Value, json};

const TOKEN: &str = "correct-horse-battery";
/// Phone, touch panel, control room: columns and rows.
const SCREENS: [(u32, u32); 3] = [(390, 844), (1024, 768), (1920, 1080)];

/// A line with two cameras and its page on this port; it keeps every part.
fn start(broker: u16, page: u16) -> Line {
    let folder = tempfile::tempdir().unwrap();
    write_token(folder.path(), TOKEN);
    let camera = |name: &str, class: &str| {
        format!(
            "[[camera]]\nname = \"{name}\"\nsource = \"synthetic\"\nclasses = [\"{class}\"]\nsize = 320\npool = 6\nfps = 3.0\n\
             [camera.trigger]\nmode = \"hardware\"\n"
        )
    };
    let http = format!(
        "[http]\nlisten = \"127.0.0.1:{page}\"\ntoken_file = \"token\"\n\
         [archive]\ndirectory = \"kept\"\nsample = 1.0\nreserve_bytes = 1048576\n"
    );
    let cameras = camera("top", "pill") + &camera("side", "bottle-mouth");
    let line = Line::run_in(folder, &settings(broker, &(http + &cameras)), |_| {});
    line.service.logged("2 cameras, engine reference");
    line
}

/// The text of axe-core, as pinned.
fn axe() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/axe-core.sh");
    let done = Command::new(script).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fs::read_to_string(String::from_utf8(done.stdout).unwrap().trim()).unwrap()
}

/// What anybody would stumble over in this view, in both lights and on every screen; a picture of each is kept.
fn barriers(browser: &mut Browser, axe: &str, view: &str) -> Vec<String> {
    let mut found = Vec::new();
    for dark in [false, true] {
        browser.dark(dark);
        for (width, height) in SCREENS {
            browser.screen(width, height);
            browser.value("scrollTo(0, 0)");
            std::thread::sleep(std::time::Duration::from_millis(250));
            let light = if dark { "dark" } else { "light" };
            browser.shoot(&format!("{view}-{light}-{width}"));
            if browser.value("document.documentElement.scrollWidth > innerWidth") == true {
                found.push(format!("{view} {light} {width}: wider than the screen"));
            }
            found.extend(browser.barriers(axe).into_iter().map(|barrier| format!("{view} {light} {width}: {barrier}")));
        }
    }
    found
}

fn state(page: u16) -> Value {
    http(page, "GET", "/api/state", None, "").1
}

#[test]
fn what_happens_appears_and_everybody_can_use_it() {
    let broker = Mosquitto::start(Rules::default());
    let page = free_port();
    let _line = start(broker.port, page);
    // Random weights find little; from here on every part has a defect.
    assert_eq!(http(page, "POST", "/api/threshold", Some(TOKEN), "{\"defect_threshold\":0.05}").0, 200);
    let axe = axe();
    let mut browser = Browser::start();
    browser.screen(1024, 768);
    browser.open(&format!("http://127.0.0.1:{page}/"));
    browser.until("document.querySelectorAll('.tile').length === 2");
    browser.until("document.querySelectorAll('.tile .verdict .word').length === 2");
    browser.until("[...document.querySelectorAll('.tile .veil')].every((veil) => veil.naturalWidth > 0)");
    // It goes on: another part, another picture.
    let part = "document.querySelector('.tile .part .name').textContent";
    let seq = "document.querySelector('.tile .stage').dataset.seq";
    let (first, shown) = (browser.value(part), browser.value(seq));
    browser.until(&format!("{part} !== {first} && {seq} !== {shown}"));
    // A part that fails has its defects outlined over its own picture.
    browser.until("document.querySelector('.tile .lines .defect')");
    browser.value("(() => { const o = document.getElementById('opacity'); o.value = 20; o.dispatchEvent(new Event('input')); })()");
    assert_eq!(browser.value("document.querySelector('.veil').style.opacity"), "0.2");
    browser.value("(() => { const o = document.getElementById('opacity'); o.value = 70; o.dispatchEvent(new Event('input')); })()");
    browser.until("document.querySelectorAll('.strip rect').length > 10");
    let mut found = barriers(&mut browser, &axe, "now");
    // In another language, from the same table.
    browser.value("(() => { const s = document.querySelector('.tools select'); s.value = 'de'; s.dispatchEvent(new Event('change')); })()");
    browser.until("document.querySelector('h1').textContent === 'Jetzt'");
    browser.until("document.querySelectorAll('.tile .verdict .word').length === 2");
    found.extend(barriers(&mut browser, &axe, "now-de"));
    browser.value("(() => { const s = document.querySelector('.tools select'); s.value = 'en'; s.dispatchEvent(new Event('change')); })()");
    browser.click("nav a[data-view=commission]");
    browser.until(
        "document.querySelectorAll('.missing li').length > 5 && document.querySelector('.figures, .facts.wide dd')",
    );
    found.extend(barriers(&mut browser, &axe, "commission"));
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
    println!("pictures of the page: {}", shots().display());
}

#[test]
fn commands_need_the_token_and_regions_are_drawn() {
    let broker = Mosquitto::start(Rules::default());
    let page = free_port();
    let _line = start(broker.port, page);
    let mut browser = Browser::start();
    browser.screen(1024, 768);
    browser.open(&format!("http://127.0.0.1:{page}/#commission/top"));
    browser.until("document.getElementById('defect_threshold')?.value === '0.5'");
    browser.value("document.getElementById('defect_threshold').value = '0.61'");
    browser.click("[aria-labelledby=limits-h] button[type=submit]");
    browser.until("document.getElementById('token').open");
    browser.shoot("token");
    browser.write("not-the-right-token");
    browser.press("Enter");
    browser.until("document.querySelector('#token .wrong').textContent === 'That is not the token.'");
    browser.write(TOKEN);
    browser.press("Enter");
    browser.until("!document.getElementById('token').open");
    browser.until("document.querySelector('.tools button:last-child').textContent === 'Sign out'");
    browser.until("document.querySelector('nav a[aria-current]')?.dataset.view === 'commission'");
    browser.until("document.querySelector('[aria-labelledby=limits-h]').textContent.includes('cap v2')");
    let top = |state: &Value| state["cameras"][0].clone();
    assert_eq!(top(&state(page))["limits"]["defect_threshold"], json!(0.61_f32));
    // The cookie is not for scripts, and does not help a page that is not ours.
    assert_eq!(browser.value("document.cookie"), "");
    let foreign = "fetch('/api/pause', { method: 'POST', body: '{}' }).then((answer) => answer.status)";
    assert_eq!(browser.value(foreign), 401);

    // Three corners; the first one again closes the polygon.
    browser.until("document.querySelector('.stage').dataset.seq");
    browser.click(".regions > button");
    browser.until("document.querySelector('svg.draw:not([hidden])')");
    let stage = browser.value(
        "(() => { const d = document.querySelector('svg.draw'); d.scrollIntoView({block: 'center'}); \
         const b = d.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()",
    );
    let [left, top_edge, width, height] = [0, 1, 2, 3].map(|at| stage[at].as_f64().unwrap());
    for (x, y) in [(0.1, 0.1), (0.9, 0.1), (0.5, 0.9), (0.1, 0.1)] {
        browser.click_at(left + x * width, top_edge + y * height);
    }
    browser.until("document.querySelectorAll('svg.draw polygon').length === 1");
    browser.shoot("regions");
    browser.click(".regions .row button[type=button]:not(.plain)");
    browser.until("document.querySelector('[aria-labelledby=limits-h]').textContent.includes('cap v3')");
    let regions = top(&state(page))["limits"]["regions"].clone();
    let near = |at: usize, x: f64, y: f64| {
        let corner = [&regions[0][at][0], &regions[0][at][1]].map(|place| place.as_f64().unwrap() / 320.0);
        (corner[0] - x).abs() < 0.02 && (corner[1] - y).abs() < 0.02
    };
    assert!(near(0, 0.1, 0.1) && near(1, 0.9, 0.1) && near(2, 0.5, 0.9), "{regions}");
    browser.until("document.querySelectorAll('.lines .region').length === 1");

    // Learning is begun, followed and ended here.
    browser.value("document.getElementById('calibrate-parts').value = '500'");
    browser.click("[aria-labelledby=calibrate-h] form button");
    browser.until("document.querySelector('[aria-labelledby=calibrate-h] progress').offsetWidth > 0");
    browser.until("/of 500 parts/.test(document.querySelector('[aria-labelledby=calibrate-h]').textContent)");
    browser.click("[aria-labelledby=calibrate-h] div > button.plain");
    browser.until("/ended by command/.test(document.querySelector('[aria-labelledby=calibrate-h]').textContent)");
    // What the browser itself says of the refused requests above is no complaint of the page.
    let complaints: Vec<&String> = browser.complaints.iter().filter(|said| !said.contains("status of 401")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn kept_parts_are_found_looked_at_and_reviewed_by_keyboard() {
    let broker = Mosquitto::start(Rules::default());
    let page = free_port();
    let _line = start(broker.port, page);
    let axe = axe();
    let mut browser = Browser::start();
    browser.screen(1024, 768);
    browser.open(&format!("http://127.0.0.1:{page}/#now"));
    browser.until("document.querySelectorAll('.strip rect').length > 8");
    browser.click("nav a[data-view=history]");
    browser.until("document.querySelectorAll('tbody tr a').length > 4");
    browser.until("document.querySelectorAll('.bars rect').length > 2");
    // The threshold is dragged over the scores, and the count changes.
    browser.value("(() => { const s = document.getElementById('of-camera'); s.value = 'top'; s.dispatchEvent(new Event('change')); })()");
    browser.until("!document.querySelector('[aria-labelledby=scores-h] button').disabled");
    let drag = |to: &str| {
        format!(
            "(() => {{ const r = document.getElementById('what-if'); r.value = {to}; r.dispatchEvent(new Event('input')); \
             return document.querySelector('.what-if').textContent; }})()"
        )
    };
    let (low, high) = (browser.value(&drag("'0.01'")), browser.value(&drag("r.max")));
    let failing = |text: &Value| -> u64 {
        let text = text.as_str().unwrap();
        text.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap()
    };
    assert!(failing(&low) > failing(&high), "{low} {high}");
    let mut found = barriers(&mut browser, &axe, "history");
    browser.screen(1024, 768);
    browser.dark(false);
    browser.value(&drag("'0.3'"));
    browser.click("[aria-labelledby=scores-h] button");
    browser.until("document.getElementById('token').open");
    browser.write(TOKEN);
    browser.press("Enter");
    browser.until("document.querySelector('#toast .good')");
    let threshold = state(page)["cameras"][0]["limits"]["threshold"].as_f64().unwrap();
    assert!((threshold - 0.3).abs() < 1e-6, "{threshold}");

    browser.click("tbody tr a");
    browser.until("document.querySelector('.still:not([hidden])')?.naturalWidth > 0");
    browser.until("document.querySelectorAll('.facts dd').length > 5");
    found.extend(barriers(&mut browser, &axe, "part"));

    browser.screen(1024, 768);
    browser.click("nav a[data-view=review]");
    browser.until("document.querySelectorAll('.parts .item').length > 4");
    browser.until("document.querySelector('.still:not([hidden])')?.naturalWidth > 0");
    // Without a name nothing is said.
    browser.press("g");
    browser.until("document.activeElement.id === 'who'");
    browser.write("M. M\u{fc}ller");
    browser.press("Tab");
    browser.value("document.activeElement.blur()");
    browser.press("j");
    browser.until("document.querySelectorAll('.parts .item')[1].getAttribute('aria-current') === 'true'");
    browser.press("k");
    browser.press("g");
    browser.until("document.querySelectorAll('.parts .opinion')[0].textContent === 'good'");
    browser.press("b");
    browser.until("document.querySelectorAll('.parts .opinion')[1].textContent === 'bad'");
    browser.until("/ of 2 parts/.test(document.querySelector('.bar p').textContent)");
    found.extend(barriers(&mut browser, &axe, "review"));
    assert!(found.is_empty(), "{}", found.join("\n"));
    let complaints: Vec<&String> = browser.complaints.iter().filter(|said| !said.contains("status of 401")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let kept = http(page, "GET", "/api/reviews", None, "").1;
    assert_eq!(kept["reviews"].as_array().unwrap().len(), 2, "{kept}");
    assert_eq!(kept["reviews"][0]["name"], "M. M\u{fc}ller");
}

/// The first paint of a page that was not looked at before, and the demo's own page, for README.
#[cfg(feature = "openvino")]
#[test]
fn the_demo_opens_a_page_that_is_there_at_once() {
    let mut demo = Running::start(program(&["demo", "--rate", "1", "--classes", "bottle-mouth,pill,leather"]));
    let said = demo.printed(2);
    let address = said.split_whitespace().find(|word| word.starts_with("http://")).expect("an address").to_owned();
    demo.logged("engine openvino");
    let mut browser = Browser::start();
    browser.screen(1280, 800);
    let paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0";
    let paints: Vec<f64> = (0..5)
        .map(|_| {
            browser.open(&address);
            browser.until(paint);
            browser.value(paint).as_f64().unwrap()
        })
        .collect();
    println!("first paints, ms: {paints:.0?}");
    assert!(paints.iter().all(|paint| *paint > 0.0), "{paints:?}");
    browser.until("document.querySelector('.verdict.fail') && document.querySelectorAll('.strip rect').length > 12");
    browser.until("document.querySelector('.lines .defect') && document.querySelector('.veil').naturalWidth > 0");
    browser.shoot("demo");
    browser.dark(true);
    browser.until("document.querySelector('.verdict.fail') && document.querySelector('.lines .defect')");
    browser.shoot("demo-dark");
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
    demo.signal("INT");
    assert_eq!(demo.end().code(), Some(0));
}
