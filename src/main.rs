//! The program: arguments in, exit status out.

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut options = chinthe::lab::Options::default();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["lab"] => chinthe::lab::run(&options),
        ["lab", "--port", port] => {
            options.port = port.parse().ok();
            chinthe::lab::run(&options)
        }
        ["lab", "--script", script] => {
            options.script = Some(script.into());
            chinthe::lab::run(&options)
        }
        _ => std::process::ExitCode::SUCCESS,
    }
}
