#include "coppice/base/json.h"

#include "coppice/base/text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coppice {

using nlohmann::json;

namespace {

struct Shape {
    int depth = 0;           ///< of nested brackets, at most kJsonMaxDepth + 1
    std::size_t members = 0; ///< of all objects, as they are written
};

/// What can be said from brackets and colons outside of strings. Right for valid JSON; the parser judges the rest.
Shape shape_of(std::string_view text)
{
    Shape shape;
    int depth = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') ++i;
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            shape.depth = std::max(shape.depth, ++depth);
            if (depth > kJsonMaxDepth) break;
        } else if (c == ']' || c == '}') {
            --depth;
        } else if (c == ':') {
            ++shape.members;
        }
    }
    return shape;
}

std::size_t count_members(const json& value)
{
    std::size_t count = value.is_object() ? value.size() : 0;
    for (const json& inner : value)
        if (inner.is_structured()) count += count_members(inner);
    return count;
}

} // namespace

Result<json> parse_json(std::string_view text)
{
    // The library takes a NUL byte for the end: what is behind it would be ignored.
    if (const auto nul = text.find('\0'); nul != std::string_view::npos)
        return fail(ErrorKind::Invalid, cat("not valid JSON near byte ", nul + 1));
    // Not by the library's callback: with one, its time is quadratic in the number of siblings.
    const auto shape = shape_of(text);
    if (shape.depth > kJsonMaxDepth)
        return fail(ErrorKind::Invalid, cat("the JSON document is nested deeper than ", kJsonMaxDepth));
    try { // the one place where the JSON library may throw
        auto document = json::parse(text);
        // The library keeps the last of two, others the first: whoever looked at the document saw another one.
        if (document.is_structured() && count_members(document) != shape.members)
            return fail(ErrorKind::Invalid, "the JSON document has an object with two members of one name");
        return document;
    } catch (const json::parse_error& error) {
        return fail(ErrorKind::Invalid, cat("not valid JSON near byte ", error.byte));
    } catch (const json::exception&) { // such as a number that fits nowhere: 1e400
        return fail(ErrorKind::Invalid, "not valid JSON: a value is out of range");
    }
}

std::string json_quote(std::string_view text)
{
    return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

Error JsonNode::complain(std::string_view what) const
{
    return {ErrorKind::Invalid, cat(path_.empty() ? "the document" : path_, ": ", what)};
}

Result<std::optional<JsonNode>> JsonNode::find(std::string_view key) const
{
    if (!value_->is_object()) return fail(complain("must be an object"));
    const auto found = value_->find(key);
    if (found == value_->end() || found->is_null()) return std::optional<JsonNode>{};
    return std::optional<JsonNode>{JsonNode{*found, path_.empty() ? std::string{key} : cat(path_, '.', key)}};
}

Result<JsonNode> JsonNode::get(std::string_view key) const
{
    auto found = TRY(find(key));
    if (!found) return fail(complain(cat("lacks the member '", key, "'")));
    return *std::move(found);
}

Result<std::string> JsonNode::text() const
{
    if (!value_->is_string()) return fail(complain("must be a string"));
    const auto& text = value_->get_ref<const std::string&>();
    if (text.find('\0') != std::string::npos) return fail(complain("holds a NUL byte"));
    return text;
}

Result<std::int64_t> JsonNode::integer(std::int64_t least, std::int64_t most) const
{
    const bool is_large = value_->is_number_unsigned() && value_->get<std::uint64_t>() > INT64_MAX;
    if (!value_->is_number_integer() || is_large || value_->get<std::int64_t>() < least ||
        value_->get<std::int64_t>() > most)
        return fail(complain(cat("must be a whole number from ", least, " to ", most)));
    return value_->get<std::int64_t>();
}

Result<std::uint64_t> JsonNode::unsigned_integer(std::uint64_t most) const
{
    if (!value_->is_number_unsigned() || value_->get<std::uint64_t>() > most)
        return fail(complain(cat("must be a whole number from 0 to ", most)));
    return value_->get<std::uint64_t>();
}

Result<bool> JsonNode::boolean() const
{
    if (!value_->is_boolean()) return fail(complain("must be true or false"));
    return value_->get<bool>();
}

Result<std::vector<std::string>> JsonNode::texts() const
{
    if (!value_->is_array()) return fail(complain("must be an array of strings"));
    std::vector<std::string> all;
    all.reserve(value_->size());
    for (std::size_t i = 0; i < value_->size(); ++i)
        all.push_back(TRY(JsonNode((*value_)[i], cat(path_, '[', i, ']')).text()));
    return all;
}

Result<std::string> JsonNode::text_or(std::string_view key, std::string_view otherwise) const
{
    const auto found = TRY(find(key));
    return found ? found->text() : Result<std::string>{otherwise};
}

Result<bool> JsonNode::boolean_or(std::string_view key, bool otherwise) const
{
    const auto found = TRY(find(key));
    return found ? found->boolean() : Result<bool>{otherwise};
}

Result<std::vector<std::string>> JsonNode::texts_or_none(std::string_view key) const
{
    const auto found = TRY(find(key));
    return found ? found->texts() : Result<std::vector<std::string>>{};
}

Result<std::optional<std::int64_t>> JsonNode::find_integer(std::string_view key, std::int64_t least,
                                                           std::int64_t most) const
{
    const auto found = TRY(find(key));
    if (!found) return std::optional<std::int64_t>{};
    const auto value = TRY(found->integer(least, most));
    return std::optional<std::int64_t>{value};
}

Result<> JsonNode::each(std::string_view key, const std::function<Result<>(const JsonNode&)>& visit) const
{
    const auto array = TRY(find(key));
    if (!array) return {};
    if (!array->value_->is_array()) return fail(array->complain("must be an array"));
    for (std::size_t i = 0; i < array->value_->size(); ++i)
        TRY(visit(JsonNode{(*array->value_)[i], cat(array->path_, '[', i, ']')}));
    return {};
}

Result<> JsonNode::each_member(std::string_view key,
                               const std::function<Result<>(const std::string&, const JsonNode&)>& visit) const
{
    const auto object = TRY(find(key));
    if (!object) return {};
    if (!object->value_->is_object()) return fail(object->complain("must be an object"));
    for (const auto& [name, value] : object->value_->items())
        TRY(visit(name, JsonNode{value, cat(object->path_, '.', name)}));
    return {};
}

} // namespace coppice
