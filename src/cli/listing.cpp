#include "listing.h"

#include "coppice/base/json_text.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "declare.h"
#include "local_time.h"
#include "table.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace coppice::cli {

namespace {

using Json = nlohmann::json;

std::string scalar_text(const Json& value)
{
    if (value.is_string()) return value.get_ref<const std::string&>();
    if (value.is_boolean()) return value.get<bool>() ? "yes" : "";
    return value.is_null() ? "" : json_text(value);
}

std::string words_text(const Json& list)
{
    std::string text;
    for (const Json& element : list)
        text += cat(text.empty() ? "" : " ", scalar_text(element));
    return text;
}

std::string shown(const Json& value, Column::Kind kind)
{
    switch (kind) {
    case Column::Kind::Bytes:
        return value.is_number_unsigned() ? format_bytes(value.get<std::uint64_t>()) : scalar_text(value);
    case Column::Kind::Time: return local_time(scalar_text(value));
    case Column::Kind::Id: return short_id(scalar_text(value));
    case Column::Kind::Words:
    case Column::Kind::Text: break;
    }
    return first_line(scalar_text(value));
}

std::vector<std::string> keys_of(const std::vector<Column>& columns)
{
    std::vector<std::string> keys;
    keys.reserve(columns.size());
    for (const Column& column : columns)
        keys.emplace_back(column.key);
    return keys;
}

} // namespace

void add_list_options(CLI::App& app, ListOptions& options, const char* quiet_help)
{
    if (quiet_help != nullptr) app.add_flag("-q,--quiet", options.quiet, quiet_help);
    take_word(app.add_option("--format", options.format, "Form of the output (default: table)"), "table|json|csv");
}

std::string short_id(std::string_view id)
{
    constexpr std::size_t kDigits = 12;
    return std::string{id.substr(0, kDigits)};
}

std::string first_line(std::string_view text) { return std::string{text.substr(0, text.find('\n'))}; }

std::string cell_of(const Json& object, const Column& column, bool for_people)
{
    const auto found = object.find(column.member == nullptr ? column.key : column.member);
    if (found == object.end()) return "";
    if (found->is_array()) return words_text(*found);
    return for_people ? shown(*found, column.kind) : scalar_text(*found);
}

Result<std::string> list_text(const Json& list, const ListOptions& options, const char* id_member,
                              const std::vector<Column>& columns)
{
    const auto form = TRY(Table::parse_form(options.format));
    if (!list.is_array()) return fail(ErrorKind::Corrupt, "the answer of coppiced is no list");
    for (const Json& object : list)
        if (!object.is_object()) return fail(ErrorKind::Corrupt, "the answer of coppiced is no list of objects");
    std::string ids;
    if (options.quiet) {
        for (const Json& object : list)
            ids += cat(printable(cell_of(object, {id_member}, false)), '\n');
        return ids;
    }
    if (form == Table::Form::Json) return json_text(list, 2) + '\n';
    Table table{keys_of(columns)};
    for (const Json& object : list) {
        std::vector<std::string> row;
        row.reserve(columns.size());
        for (const Column& column : columns)
            row.push_back(cell_of(object, column, form == Table::Form::Text));
        table.add(std::move(row));
    }
    return table.print(form);
}

Result<int> print_list(const Json& list, const ListOptions& options, const char* id_member,
                       const std::vector<Column>& columns)
{
    const auto text = TRY(list_text(list, options, id_member, columns));
    std::fputs(text.c_str(), stdout);
    return 0;
}

Result<std::string> object_text(const Json& object, const std::string& format, const std::vector<Column>& columns)
{
    const auto form = TRY(Table::parse_form(format));
    if (!object.is_object()) return fail(ErrorKind::Corrupt, "the answer of coppiced is no object");
    if (form == Table::Form::Json) return json_text(object, 2) + '\n';
    Table table{{"what", "value"}};
    for (const Column& column : columns)
        table.add({column.key, cell_of(object, column, form == Table::Form::Text)});
    return table.print(form);
}

void print_json(const Json& document) { std::puts(json_text(document, 2).c_str()); }

} // namespace coppice::cli
