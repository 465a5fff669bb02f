#include "image_choice.h"

#include "coppice/base/text.h"

namespace coppice::imports {

namespace {

bool fits(const Descriptor& d, const ImageChoice& wanted)
{
    return (d.os.empty() || d.os == "linux") && (d.architecture.empty() || d.architecture == wanted.architecture);
}

} // namespace

std::unexpected<Error> none_of_several(std::string what, std::string_view there)
{
    return fail(Error{ErrorKind::NotFound, std::move(what)}.hint(cat("there are: ", there)));
}

Result<Descriptor> choose(const std::vector<Descriptor>& all, const ImageChoice& wanted, bool outermost)
{
    std::vector<Descriptor> found;
    std::string platforms, references;
    for (const Descriptor& d : all) {
        if (d.kind != Descriptor::Kind::Index && d.kind != Descriptor::Kind::Manifest) continue;
        if (!d.architecture.empty())
            platforms += cat(platforms.empty() ? "" : ", ", printable(d.os), '/', printable(d.architecture));
        if (!d.reference.empty()) references += cat(references.empty() ? "" : ", ", printable(d.reference));
        if (outermost && !wanted.reference.empty() && d.reference != wanted.reference) continue;
        if (fits(d, wanted)) found.push_back(d);
    }
    if (found.empty() && outermost && !wanted.reference.empty())
        return none_of_several(
            cat("the image has no ", printable(wanted.reference), " for linux/", wanted.architecture),
            references + (platforms.empty() ? "" : "; " + platforms));
    if (found.empty()) return none_of_several(cat("the image is not for linux/", wanted.architecture), platforms);
    if (outermost && wanted.reference.empty() && found.size() > 1)
        for (const Descriptor& d : found)
            if (d.digest != found.front().digest && d.reference != found.front().reference)
                return fail(
                    Error{ErrorKind::Invalid, "there are several images"}.hint(cat("name one of: ", references)));
    return found.front(); // of a platform the first one, as the specification has it
}

} // namespace coppice::imports
