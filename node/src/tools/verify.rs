//! placeholder
pub fn run(_: &super::VerifyOptions) -> Result<crate::exit::Exit, crate::exit::Failure> {
    Ok(crate::exit::Exit::Ok)
}
