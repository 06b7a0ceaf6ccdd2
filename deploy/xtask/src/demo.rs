//! The main job, told as a story over a running platform: an account, a card, money, a passage that is sent
//! twice and counted once, and the balance.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::build::build;
use crate::steps::{Failure, Steps, command_line};
use crate::workspace::Workspace;

const CONFIG: &str = "config/embedded.toml";

/// Fen paid in, and the fee of one passage.
const PAID_IN: i64 = 10_000;
const FEE: i64 = 1_500;

pub(crate) fn demo(workspace: &Workspace, steps: &Steps) -> Result<(), Failure> {
    build(workspace, steps)?;
    start(workspace, steps)?;
    steps.banner("the story of a card");
    let account = tell(workspace)?;
    let gantry = command_line(&gantry(workspace, &[]));
    println!("\nThe platform is running, and the books are right. Go on with:");
    println!("    {gantry} status");
    println!("    {gantry} service list");
    println!("    {gantry} call 10000002 '{{\"account\":\"{account}\"}}'");
    println!("    {gantry} call 19000001 hello");
    println!("and stop it with:");
    println!("    {gantry} stop");
    Ok(())
}

/// Starts the platform unless it runs; the state of earlier runs is kept.
fn start(workspace: &Workspace, steps: &Steps) -> Result<(), Failure> {
    let (line, code, _, stderr) = run(&mut gantry(workspace, &["status"]))?;
    match code {
        Some(0) => {
            steps.banner("the platform is running already");
            Ok(())
        }
        Some(3) => {
            steps.run("starting the platform", &mut gantry(workspace, &["start"])).map_err(|failure| {
                let hint = "its state is in var/; without that folder it starts from nothing";
                Failure::Wrong(format!("{failure}\n    ({hint})"))
            })
        }
        _ => Err(Failure::Wrong(format!("{line}: {stderr}"))),
    }
}

/// Tells the story and checks every figure in it; returns the account.
fn tell(workspace: &Workspace) -> Result<String, Failure> {
    let marker = marker();
    let call = |service: u32, body: Value| call(workspace, service, &body, None);

    println!("\nA customer opens an account and gets a card for a car.");
    let opened = call(20_000_001, json!({"customer": "Li Na", "id_no": "110105199001011234"}))?;
    let account = text(&opened, "account")?;
    let plate = format!("京A{marker}");
    let issued = call(20_000_002, json!({"account": account, "plate": plate, "vehicle_class": 1}))?;
    let card = text(&issued, "card")?;

    println!("\nShe pays in {PAID_IN} fen.");
    let paid = call(20_000_004, json!({"card": card, "amount": PAID_IN, "channel": "counter"}))?;
    expect("the balance after the recharge", &paid["balance"], &json!(PAID_IN))?;

    println!("\nShe passes a gantry. The message about it gets lost on its way back, so it is sent twice.");
    let at = "2025-03-01T08:30:00+08:00";
    let passage = json!({
        "card": card, "operator": "G4", "entry": "Beijing", "exit": "Zhuozhou", "at": at, "fee": FEE
    });
    // 24 bytes that name the request; a repeat carries the same.
    let id = format!("demo-passage-{marker:0>11}");
    let first = self::call(workspace, 20_000_005, &passage, Some(&id))?;
    expect("the balance after the passage", &first["balance"], &json!(PAID_IN - FEE))?;
    let second = self::call(workspace, 20_000_005, &passage, Some(&id))?;
    expect("the reply to the repeat", &second, &first)?;

    println!("\nIt was counted once, and the books balance.");
    let balance = call(10_000_002, json!({"account": account}))?;
    expect("the balance of the account", &balance["balance"], &json!(PAID_IN - FEE))?;
    let passages = call(10_000_003, json!({"card": card}))?;
    let count = passages["passages"].as_array().map(Vec::len);
    expect("the number of passages", &json!(count), &json!(1))?;
    let books = call(10_000_007, json!({}))?;
    expect("the sum of all credits", &books["credit"], &books["debit"])?;
    Ok(account)
}

/// One `gantry call`, printed with its reply.
fn call(workspace: &Workspace, service: u32, body: &Value, id: Option<&str>) -> Result<Value, Failure> {
    let mut command = gantry(workspace, &["call", &format!("{service:08}"), &body.to_string()]);
    if let Some(id) = id {
        command.args(["--id", id]);
    }
    println!("$ {}", command_line(&command));
    let (line, code, stdout, stderr) = run(&mut command)?;
    println!("{}", stdout.trim_end());
    if code != Some(0) {
        return Err(Failure::Wrong(format!("{line}: {}", stderr.trim_end())));
    }
    serde_json::from_str(&stdout)
        .map_err(|error| Failure::Wrong(format!("{line}: the reply is no JSON: {error}")))
}

fn gantry(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = Command::new(workspace.gantry());
    command.args(["-c", CONFIG]).args(arguments);
    command
}

/// Runs a command to its end: its line, exit code, and what it printed.
fn run(command: &mut Command) -> Result<(String, Option<i32>, String, String), Failure> {
    let line = command_line(command);
    match command.output() {
        Ok(output) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Ok((line, output.status.code(), text(&output.stdout), text(&output.stderr)))
        }
        Err(cause) => Err(Failure::NotStarted { line, cause }),
    }
}

fn text(reply: &Value, key: &str) -> Result<String, Failure> {
    reply[key]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| Failure::Wrong(format!("no {key} in the reply {reply}")))
}

fn expect(what: &str, found: &Value, wanted: &Value) -> Result<(), Failure> {
    if found == wanted {
        Ok(())
    } else {
        Err(Failure::Wrong(format!("{what} should be {wanted}, but is {found}")))
    }
}

/// The time in milliseconds in base 36: plates and request ids of two runs differ, so the demo can be run
/// again and again.
fn marker() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut rest = since.as_millis();
    let mut digits = Vec::new();
    while rest > 0 {
        let digit = u32::try_from(rest % 36).unwrap_or_default();
        digits.push(char::from_digit(digit, 36).unwrap_or('0').to_ascii_uppercase());
        rest /= 36;
    }
    digits.iter().rev().collect()
}
