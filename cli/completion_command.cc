// SPDX-License-Identifier: Apache-2.0
//
// Shell completion, made from the parser itself, so that it knows every command and option there
// is.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/console.h"

namespace godwit::cli {
namespace {

// "--qmp --to …": what can follow a command. Hidden options have no group.
std::string options_of(const CLI::App& command) {
  std::string words;
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_group().empty()) continue;
    for (const std::string& name : option->get_lnames()) words += fmt::format("--{} ", name);
  }
  return words;
}

std::string command_names(const CLI::App& app) {
  std::string names;
  for (const CLI::App* command : app.get_subcommands({})) names += command->get_name() + " ";
  return names;
}

std::string bash_cases(const CLI::App& app) {
  std::string cases;
  for (const CLI::App* command : app.get_subcommands({})) {
    cases += fmt::format("    {}) words='{}' ;;\n", command->get_name(), options_of(*command));
  }
  return cases;
}

std::string bash_script(const CLI::App& app) {
  return fmt::format(
      "# bash completion for godwit. Use: source <(godwit completion bash)\n"
      "_godwit() {{\n"
      "  local word=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words=\n"
      "  COMPREPLY=()\n"
      "  case $previous in\n"
      "    --qmp|--psk-file|--tls-dir|--json|--csv|--report|keygen|report)\n"
      "      COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n"
      "    cancel|resume|status)\n"
      "      words=$(godwit status 2>/dev/null | awk 'NR>1 && $1 ~ /^[0-9a-f]{{16}}$/ {{print "
      "$1}}')\n"
      "      COMPREPLY=($(compgen -W \"$words --json --help\" -- \"$word\")); return ;;\n"
      "    completion) COMPREPLY=($(compgen -W 'bash zsh' -- \"$word\")); return ;;\n"
      "  esac\n"
      "  case ${{COMP_WORDS[1]}} in\n"
      "{}"
      "  esac\n"
      "  [ \"$COMP_CWORD\" -eq 1 ] && words='{}--help --version'\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
      "}}\n"
      "complete -F _godwit godwit\n",
      bash_cases(app), command_names(app));
}

// zsh runs bash's completion functions; one script to keep right is enough.
std::string zsh_script(const CLI::App& app) {
  return "# zsh completion for godwit. Use: source <(godwit completion zsh)\n"
         "autoload -U +X compinit bashcompinit\n"
         "(( $+functions[compdef] )) || compinit\n"
         "bashcompinit\n" +
         bash_script(app);
}

}  // namespace

void add_completion_command(CLI::App& app, ExitCode& exit_code) {
  auto shell = std::make_shared<std::string>();  // shared by the parser and the callback
  CLI::App* command = app.add_subcommand("completion", "Print a shell's completion script");
  command->add_option("SHELL", *shell, "bash or zsh")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}));
  command->footer("Example: source <(godwit completion bash)");
  command->callback([shell, &app, &exit_code] {
    write_stdout(*shell == "bash" ? bash_script(app) : zsh_script(app));
    exit_code = ExitCode::kCompleted;
  });
}

}  // namespace godwit::cli
