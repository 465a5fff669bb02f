#include "history_reader.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace coppice::cli {

namespace {

using Json = nlohmann::json;

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
class Reader final : public Json::json_sax_t {
public:
    std::vector<LoggedSnapshot> snapshots;
    std::string complaint;

    bool null() override { return is_value() ? member_ == Member::Parent || refuse() : passes(); }
    bool boolean(bool /*value*/) override { return is_value() || is_element() ? refuse() : passes(); }
    bool number_integer(Json::number_integer_t /*value*/) override
    {
        return is_value() || is_element() ? refuse() : passes();
    }
    bool number_float(Json::number_float_t /*value*/, const Json::string_t& /*text*/) override
    {
        return is_value() || is_element() ? refuse() : passes();
    }
    bool binary(Json::binary_t& /*value*/) override { return refuse(); }

    bool number_unsigned(Json::number_unsigned_t value) override
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

    bool string(Json::string_t& value) override
    {
        if (is_element()) {
            if (member_ == Member::Versions) return refuse();
            (member_ == Member::Tags ? tags_ : branches_).push_back(std::move(value));
            return true;
        }
        if (!is_value()) return passes();
        auto& snapshot = snapshots.back();
        const std::array<std::string*, 7> texts{&snapshot.id,      &snapshot.vdisk,  &snapshot.parent, &snapshot.state,
                                                &snapshot.created, &snapshot.author, &snapshot.message};
        const auto index = static_cast<std::size_t>(member_);
        if (index >= texts.size()) return refuse();
        *texts[index] = std::move(value);
        return true;
    }

    bool start_object(std::size_t /*count*/) override
    {
        if (++depth_ > kJsonMaxDepth || depth_ == 1) return refuse();
        if (depth_ == 2) {
            snapshots.emplace_back();
            seen_ = 0;
        } else if (member_ != Member::Other) {
            return refuse();
        }
        return true;
    }

    bool key(Json::string_t& name) override
    {
        if (depth_ != 2) return true;
        const auto* const found = std::find(kMembers.begin(), kMembers.end(), name);
        member_ = static_cast<Member>(found - kMembers.begin());
        if (member_ == Member::Other) return true;
        const auto bit = 1U << static_cast<unsigned>(member_);
        if ((seen_ & bit) != 0) return refuse();
        seen_ |= bit;
        return true;
    }

    bool end_object() override { return --depth_ > 1 || end_snapshot(); }

    bool start_array(std::size_t /*count*/) override
    {
        if (++depth_ > kJsonMaxDepth || depth_ == 2) return refuse();
        const bool is_list = member_ == Member::Versions || member_ == Member::Tags || member_ == Member::Branches;
        return depth_ == 1 || (depth_ == 3 && is_list) || member_ == Member::Other || refuse();
    }
    bool end_array() override
    {
        --depth_;
        return true;
    }

    bool parse_error(std::size_t position, const std::string& /*token*/,
                     const nlohmann::detail::exception& /*error*/) override
    {
        complaint = cat("not valid JSON near byte ", position);
        return false;
    }

private:
    [[nodiscard]] bool is_value() const { return depth_ == 2 && member_ != Member::Other; }
    [[nodiscard]] bool is_element() const { return depth_ == 3 && member_ != Member::Other; }
    /// A value outside of snapshots is no list of them; within, it belongs to an unknown member.
    bool passes() { return depth_ > 1 || refuse(); }
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
    if (!Json::sax_parse(text.begin(), text.end(), &reader))
        return fail(ErrorKind::Corrupt, cat("the answer of coppiced: ", reader.complaint));
    return std::move(reader.snapshots);
}

} // namespace coppice::cli
