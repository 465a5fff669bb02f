#pragma once

#include "coppice/instance/config.h"

#include <string>
#include <string_view>
#include <vector>

/// Single values as users write them behind the options that docker made known. What they ask for is checked as far as
/// it can be before anything is made. Errors of all: Invalid, with the text and the form that is right.
namespace coppice::instance {

/// The lines of a file for --env-file, each NAME=value or NAME alone. As with docker: blanks in front do not count,
/// empty lines and those that begin with # are left out, and everything behind = is the value, quotes too.
/// @param name of the file, for messages
Result<std::vector<std::string>> parse_env_file(std::string_view text, std::string_view name);

/// "net_admin", "CAP_NET_ADMIN" and the like as "CAP_NET_ADMIN"; "all" as "ALL".
Result<std::string> parse_capability(std::string_view text);

/// HOST[:INSIDE[:ACCESS]] or HOST:ACCESS, ACCESS being made of r, w and m. HOST must be a device now.
/// Errors: also NotFound
Result<Device> parse_device(std::string_view text);

/// PATH[:OPTION,...] with options of mount(8) and tmpfs(5) that an instance may choose.
Result<Tmpfs> parse_tmpfs(std::string_view text);

/// NAME=SOFT[:HARD], for example nofile=1024:4096; -1 and `unlimited` are no limit.
Result<Ulimit> parse_ulimit(std::string_view text);

/// NAME=value, or NAME for an empty value. Names that begin with "coppice." are ours.
Result<std::pair<std::string, std::string>> parse_label(std::string_view text);

/// no-new-privileges, seccomp=FILE|unconfined, apparmor=PROFILE or label=disable, put into `config`.
/// Errors: also those of reading FILE, and Unsupported (another option)
Result<> apply_security_option(InstanceConfig& config, std::string_view text);

/// max-size=SIZE or max-file=NUMBER, put into `config`.
Result<> apply_log_option(InstanceConfig& config, std::string_view text);

/// Swap beyond memory: an amount, 0 for none, or -1 for no limit.
Result<std::int64_t> parse_swap(std::string_view text);

/// Whether no two of the instance's volumes, file systems in memory and devices want the same place.
Result<> check_destinations(const InstanceConfig& config);

} // namespace coppice::instance
