#include "history_reader.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"

#include <algorithm>
#include <array>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

namespace coppice::cli {

namespace {

using Length = rapidjson::SizeType;

enum class Member : unsigned char {
    Id,
    Vdisk,
    Parent,
    State,
    Created,
    Author,
    Message,
    Bytes,
    Versions,
    Tags,
    Branches,
    Other
};
constexpr std::array<std::string_view, 11> kMembers{"id",      "vdisk", "parent",   "state", "created", "author",
                                                    "message", "bytes", "versions", "tags",  "branches"};

/// Takes the parser's events. Depth 1 is the list, 2 a snapshot, 3 one of its lists.
class Reader {
public:
    std::vector<LoggedSnapshot> snapshots;
    std::string complaint;

    // The parser demands these names.
    // NOLINTBEGIN(readability-identifier-naming)
    bool Null() { return is_value() ? member_ == Member::Parent || refuse() : passes(); }
    bool Bool(bool /*value*/) { return other_value(); }
    bool Int(int /*value*/) { return other_value(); }
    bool Int64(std::int64_t /*value*/) { return other_value(); }
    bool Double(double /*value*/) { return other_value(); }
    bool RawNumber(const char* /*text*/, Length /*length*/, bool /*copy*/) { return other_value(); }
    bool Uint(unsigned value) { return Uint64(value); }

    bool Uint64(std::uint64_t value)
    {
        if (is_element()) {
            if (member_ != Member::Versions) return refuse();
            versions_.push_back(value);
            return true;
        }
        if (!is_value()) return passes();
        if (member_ != Member::Bytes) return refuse();
        snapshots.back().bytes = value;
        return true;
    }

    bool String(const char* text, Length length, bool /*copy*/)
    {
        if (is_element()) {
            if (member_ == Member::Versions) return refuse();
            (member_ == Member::Tags ? tags_ : branches_).emplace_back(text, length);
            return true;
        }
        if (!is_value()) return passes();
        auto& snapshot = snapshots.back();
        const std::array<std::string*, 7> texts{&snapshot.id,      &snapshot.vdisk,  &snapshot.parent, &snapshot.state,
                                                &snapshot.created, &snapshot.author, &snapshot.message};
        const auto index = static_cast<std::size_t>(member_);
        if (index >= texts.size()) return refuse();
        texts[index]->assign(text, length);
        return true;
    }

    bool StartObject()
    {
        ++depth_;
        if (depth_ > kJsonMaxDepth || depth_ == 1) return refuse();
        if (depth_ == 2) {
            snapshots.emplace_back();
            seen_ = 0;
        } else if (member_ != Member::Other) {
            return refuse();
        }
        return true;
    }

    bool Key(const char* text, Length length, bool /*copy*/)
    {
        if (depth_ != 2) return true;
        const auto* const found = std::find(kMembers.begin(), kMembers.end(), std::string_view{text, length});
        member_ = static_cast<Member>(found - kMembers.begin());
        if (member_ == Member::Other) return true;
        const auto bit = 1U << static_cast<unsigned>(member_);
        if ((seen_ & bit) != 0) return refuse();
        seen_ |= bit;
        return true;
    }

    bool EndObject(Length /*count*/) { return --depth_ > 1 || end_snapshot(); }

    bool StartArray()
    {
        ++depth_;
        if (depth_ > kJsonMaxDepth || depth_ == 2) return refuse();
        const bool is_list = member_ == Member::Versions || member_ == Member::Tags || member_ == Member::Branches;
        return depth_ == 1 || (depth_ == 3 && is_list) || member_ == Member::Other || refuse();
    }
    bool EndArray(Length /*count*/)
    {
        --depth_;
        return true;
    }
    // NOLINTEND(readability-identifier-naming)

private:
    [[nodiscard]] bool is_value() const { return depth_ == 2 && member_ != Member::Other; }
    [[nodiscard]] bool is_element() const { return depth_ == 3 && member_ != Member::Other; }
    /// A value outside of snapshots is no list of them; within, it belongs to an unknown member.
    bool passes() { return depth_ > 1 || refuse(); }
    bool other_value() { return is_value() || is_element() ? refuse() : passes(); }
    bool refuse()
    {
        const bool has_member = depth_ > 1 && member_ != Member::Other;
        complaint = has_member
                        ? cat("a snapshot's ", kMembers[static_cast<std::size_t>(member_)], " is not what it must be")
                        : "no list of snapshots";
        return false;
    }

    bool end_snapshot()
    {
        for (std::size_t i = 0; i < kMembers.size(); ++i) {
            if ((seen_ & (1U << i)) != 0) continue;
            complaint = cat("a snapshot has no ", kMembers[i]);
            return false;
        }
        auto& snapshot = snapshots.back();
        for (const auto number : versions_)
            snapshot.heads.push_back(cat(snapshot.vdisk, ':', number));
        for (const std::string& tag : tags_)
            snapshot.heads.push_back(cat(snapshot.vdisk, '@', tag));
        std::move(branches_.begin(), branches_.end(), std::back_inserter(snapshot.heads));
        versions_.clear();
        tags_.clear();
        branches_.clear();
        member_ = Member::Other;
        return true;
    }

    int depth_ = 0;
    Member member_ = Member::Other;
    unsigned seen_ = 0; ///< bit per member of the current snapshot
    std::vector<std::uint64_t> versions_;
    std::vector<std::string> tags_, branches_;
};

} // namespace

Result<std::vector<LoggedSnapshot>> read_snapshots(std::string_view text)
{
    Reader reader;
    reader.snapshots.reserve(text.size() / 256); // about
    rapidjson::MemoryStream stream{text.data(), text.size()};
    const auto parsed = rapidjson::Reader{}.Parse<rapidjson::kParseValidateEncodingFlag>(stream, reader);
    if (!parsed.IsError() && stream.Tell() != text.size()) reader.complaint = "more than JSON"; // a NUL ends it, too
    if (parsed.IsError() && parsed.Code() != rapidjson::kParseErrorTermination)
        reader.complaint = cat("not valid JSON near byte ", parsed.Offset());
    if (!reader.complaint.empty()) return fail(ErrorKind::Corrupt, cat("the answer of coppiced: ", reader.complaint));
    return std::move(reader.snapshots);
}

} // namespace coppice::cli
