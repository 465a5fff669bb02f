#pragma once

#include "coppice/base/result.h"

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace CLI { // NOLINT(readability-identifier-naming): the library's own
class App;
}

namespace coppice::cli {

/// What every command takes that lists things of the API.
struct ListOptions {
    std::string format = "table";
    bool quiet = false;
};
/// @param quiet_help what -q leaves: "Names only"; nullptr: there is no -q
void add_list_options(CLI::App& app, ListOptions& options, const char* quiet_help);

/// A column of a list: which member of the objects it shows, and how. Tables are for people: sizes as 1.5 GiB, times
/// local and to the minute, ids shortened, of texts the first line. CSV has everything exactly.
struct Column {
    enum class Kind : unsigned char { Text, Bytes, Time, Id, Words };
    const char* key; ///< heading; the member's name, too
    Kind kind = Kind::Text;
    const char* member = nullptr; ///< when it has another name
};

/// Text of one member; null and absent are empty, true is "yes", false is empty.
std::string cell_of(const nlohmann::json& object, const Column& column, bool for_people);

/// A list as the options want it: ids, a table, CSV, or the API's objects as they are.
/// @param id_member what -q prints. Errors: Corrupt (no list of objects), Invalid (format)
Result<std::string> list_text(const nlohmann::json& list, const ListOptions& options, const char* id_member,
                              const std::vector<Column>& columns);

/// list_text on standard output; the value is the exit status.
Result<int> print_list(const nlohmann::json& list, const ListOptions& options, const char* id_member,
                       const std::vector<Column>& columns);

/// One object as "name  value" lines; as JSON or CSV where the format says so.
Result<std::string> object_text(const nlohmann::json& object, const std::string& format,
                                const std::vector<Column>& columns);

/// Indented; bytes that are no UTF-8 become U+FFFD.
void print_json(const nlohmann::json& document);

/// The first 12 of the 32 digits: enough to name a snapshot by, and what a line has room for.
std::string short_id(std::string_view id);
std::string first_line(std::string_view text);

} // namespace coppice::cli
