"""The words that packs carry: nutrition vocabularies, ingredients, slogans.  Data only."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Language:
    """One language's declaration: `names` in the order energy, fat, saturates, carbohydrate,
    sugars, fibre, protein, salt; `per` and `portion` head the columns; `prose` fills paragraphs."""

    script: str
    title: str
    per: str
    portion: str
    names: tuple[str, ...]
    note: str
    prose: str
    comma: bool = True


@dataclass(frozen=True)
class Facts:
    """The words of one country's "Nutrition Facts": a panel per serving with daily values.

    Rows are "name;unit;largest value" with ">" in front of each step of indentation and "*" in
    front of names in bold; `vitamins` are names only.
    """

    script: str
    titles: tuple[str, ...]
    size: str
    count: str
    amount: str
    calories: str
    fat_calories: str
    daily: tuple[str, ...]
    rows: tuple[str, ...]
    vitamins: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class National:
    """The words of one country's own layout: `corner` and `heads` top its columns, `units` say how
    much the values are for, `names` are "name;unit;largest value"."""

    title: str
    corner: str
    heads: tuple[str, ...]
    units: tuple[str, ...]
    names: tuple[str, ...]
    note: str


def _entries(name: str) -> dict[str, dict[str, Any]]:
    """The tables of a TOML file next to this one, its lists as tuples."""
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    return {
        key: {field: tuple(v) if isinstance(v, list) else v for field, v in entry.items()}
        for key, entry in tomllib.loads(text).items()
    }


LANGUAGES = {code: Language(**entry) for code, entry in _entries("languages.toml").items()}
FACTS = {country: Facts(**entry) for country, entry in _entries("facts.toml").items()}
NATIONAL = {country: National(**entry) for country, entry in _entries("national.toml").items()}

ENGLISH_TITLES = (
    "NUTRITION INFORMATION", "Nutrition Information", "Typical values", "Nutritional Information",
    "NUTRITION", "NUTRITIONAL INFORMATION (Approx.)", "Nutrition Facts", "Average values",
)  # fmt: skip
VITAMINS = (
    "Vitamin A", "Vitamin C", "Vitamin D", "Vitamin E", "Thiamin", "Riboflavin", "Niacin",
    "Vitamin B6", "Folic acid", "Vitamin B12", "Calcium", "Iron", "Potassium", "Zinc", "Magnesium",
    "Phosphorus", "Iodine", "Selenium",
)  # fmt: skip
SERVINGS = (
    "1 cup (30g)", "2 tbsp (33g)", "1 pouch (114g)", "3 pieces (30g)", "1 bottle (330mL)",
    "1 tbsp (15 ml)", "25 g", "1 pack (60g)", "1 oz. (28g/about 12 chips)", "2/3 cup (55g)",
    "1/2 can (120g)", "30g", "1 cookie (25g)",
)  # fmt: skip

BRANDS = (
    "BON FRU VITA GOLD SUN MAR LA CRI CHO PIK LO NU TRI KO KA SPI MO ZA NER TA BEL SOL MI RO DI "
    "YUM PO TO JA FEL NOR OR WEI DUR SA LU CHI"
).split()
SLOGANS = (
    "NEW!", "Original", "Extra Crunchy", "Family Pack", "Natural", "No artificial colours",
    "Chocolate", "Classic Taste", "Sea Salt", "Hot & Spicy", "Sin azúcar", "Bio Qualität",
    "Sour Cream & Onion", "Great Value", "20% MORE FREE", "Gluten Free", "Recette traditionnelle",
    "Strawberry", "Good source of fibre", "Thank you for choosing us", "Premium Quality",
    "Cheese Flavor Snack", "Sabor original", "Whole Grain", "Made with real fruit", "Lactose free",
    "Simply delicious", "Try our other flavors!", "Please recycle", "www.snack-world.com",
)  # fmt: skip
COOKING = (
    ("Oven", "200 °C", "18-20 min"), ("Fan oven", "180 °C", "15 min"),
    ("Microwave", "800 W", "4 min"),
    ("Pan", "medium", "6-8 min"), ("Airfryer", "190 °C", "12 min"), ("Grill", "high", "10 min"),
    ("Water", "250 ml", "1 cup"), ("Milk", "2 tbsp", "30 ml"), ("Butter", "1 tbsp", "15 g"),
)  # fmt: skip
RECEIPT = (
    "Milk 1L", "Bread", "Eggs x12", "Bananas", "Coffee", "Rice 5kg", "Plastic bag", "Butter",
    "Chicken", "Yogurt", "Apples", "Pasta", "Tea", "Soap",
)  # fmt: skip
WASTE = (
    ("Carton", "PAP 21", "Paper"), ("Étui", "PAP 21", "Carta"), ("Film", "PP 5", "Plastica"),
    ("Schale", "PET 1", "Gelbe Tonne"), ("Lid", "LDPE 4", "Recycle"), ("Vaso", "GL 70", "Vetro"),
    ("Bolsa", "C/PP 90", "Amarillo"), ("Capsule", "FE 40", "Metal"),
)  # fmt: skip
CONTACTS = (
    ("UK", "0800 000 321, PO Box 12, London"), ("FR", "12 rue des Fleurs, 75008 Paris"),
    ("DE", "Hauptstraße 7, 20095 Hamburg"), ("NL", "Postbus 44, 1000 AB Amsterdam"),
    ("IT", "Via Verdi 3, 20121 Milano"), ("ES", "Calle Mayor 9, 28013 Madrid"),
    ("PL", "ul. Polna 5, 00-001 Warszawa"), ("CZ", "Dlouhá 8, 110 00 Praha"),
)  # fmt: skip
CLAIMS = (
    "0%\nFAT", "0 g\nsugar", "SOURCE OF\nFIBRE", "HIGH\nPROTEIN", "20 g\nPROTEIN",
    "NO ADDED\nSUGAR",
    "LOW\nSALT", "90\nkcal", "5 g\nfibre", "-30%\nsugar", "VEGAN", "GLUTEN\nFREE",
)  # fmt: skip
