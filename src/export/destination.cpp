#include "destination.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"

namespace coppice::exports {

namespace {

std::unexpected<Error> taken(const std::string& path)
{
    return fail(Error{ErrorKind::Conflict, cat(printable(path), " is there already")}.hint(
        "name another place, or remove it first"));
}

} // namespace

Destination::Destination(os::Fd parent, std::string name, Kind kind)
    : parent_{std::move(parent)}, name_{std::move(name)},
      passing_{cat('.', name_.substr(0, 200), ".partial-", random_hex(16))}, kind_{kind}
{
}

Destination::Destination(Destination&& other) noexcept
    : parent_{std::move(other.parent_)}, open_{std::move(other.open_)}, name_{std::move(other.name_)},
      passing_{std::exchange(other.passing_, {})}, kind_{other.kind_}
{
}

Destination::~Destination()
{
    // Whether it can be removed or not, the name tells what it is.
    if (!passing_.empty()) (void)os::remove_tree(parent_.get(), passing_).has_value();
}

Result<Destination> Destination::make(const std::string& path, Kind kind)
{
    std::string whole = path;
    while (whole.size() > 1 && whole.ends_with('/'))
        whole.pop_back();
    const auto slash = whole.rfind('/');
    auto name = whole.substr(slash + 1); // npos + 1 is 0
    if (name.empty() || name == "." || name == "..")
        return fail(ErrorKind::Invalid, cat("'", printable(path), "' names no place to export to"));
    const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : whole.substr(0, slash);
    auto parent = TRY(os::open_at(os::kCwd, directory, O_RDONLY | O_DIRECTORY));
    if (TRY(os::find_status(parent.get(), name, false))) return taken(path);
    Destination destination{std::move(parent), std::move(name), kind};
    const int at = destination.parent_.get();
    if (kind == Kind::Directory) TRY(os::make_directory(at, destination.passing_, 0700));
    const int flags = kind == Kind::Directory ? O_RDONLY | O_DIRECTORY : O_RDWR | O_CREAT | O_EXCL;
    destination.open_ = TRY(os::open_at(at, destination.passing_, flags | O_NOFOLLOW, 0600));
    return destination;
}

Result<> Destination::complete() &&
{
    if (kind_ == Kind::Directory)
        TRY(os::sync_directory(open_.get(), name_));
    else
        TRY(os::sync_data(open_.get(), name_));
    auto renamed = os::rename_at(parent_.get(), passing_, parent_.get(), name_, false);
    if (!renamed && renamed.error().kind() == ErrorKind::Conflict) return taken(name_);
    TRY(std::move(renamed));
    passing_.clear();
    return os::sync_directory(parent_.get(), "the directory of the export");
}

} // namespace coppice::exports
