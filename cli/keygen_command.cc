// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/console.h"
#include "transports/control/psk_file.h"

namespace godwit::cli {
namespace {

ExitCode generate(const std::string& path) {
  Status written = write_new_pre_shared_key(path);
  if (!written) {
    say(to_string(written.error()));
    return ExitCode::kFailed;
  }
  say(fmt::format("wrote a new key to {}: copy it to the other host, by a safe way", path));
  return ExitCode::kCompleted;
}

}  // namespace

void add_keygen_command(CLI::App& app, ExitCode& exit_code) {
  auto path = std::make_shared<std::string>();  // shared by the parser and the callback
  CLI::App* command = app.add_subcommand("keygen", "Make a key for --psk-file");
  command->add_option("FILE", *path, "Where to write it; must not exist")->required();
  command->footer("Example: godwit keygen /etc/godwit.key");
  command->callback([path, &exit_code] { exit_code = generate(*path); });
}

}  // namespace godwit::cli
